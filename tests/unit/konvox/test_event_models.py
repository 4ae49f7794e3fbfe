"""Tests of events as handlers get them: typed or plain, and with any fields in their JSON."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from konvox.errors import EventDoesNotFitError, MalformedEventError
from konvox.events import (
    EVENT_MODELS,
    EVENT_NAMES,
    ContactReplied,
    ContactRepliedData,
    EnrollmentCreated,
    EnrollmentUnsubscribed,
    Event,
    plain_event,
    typed_event,
)
from konvox.samples import sample_body, sample_data

HAPPENED = "2026-05-20T14:32:00.000Z"
ID = "evt_abcdefghijklmnopqrstuvwxyz"

OUR_NAMES: dict[str, Any] = {
    "id": "another id",
    "raw": "another body",
    "replayed": True,
    "type": "another.type",
    "company_id": "another company",
    "received_as": 1,
    "model_config": {"frozen": False},
    "model_extra": 2,
    "model_fields": 3,
    "model_dump": 4,
    "_receipt": 5,
    "_id": 6,
    "_fields_set": 7,
    "cls": 8,
    "self": 9,
    "values": 10,
    "__class__": "int",
    "__dict__": {},
    "__pydantic_extra__": {},
    "__pydantic_private__": None,
    "": 11,
}
"""Names of the model's own, and of what makes it, as fields on the wire."""


def body_of(event_type: str, **changes: Any) -> bytes:
    """A sample body with some fields of its envelope changed."""
    return orjson.dumps(orjson.loads(sample_body(event_type, timestamp=HAPPENED)) | changes)


def typed(event_type: str, raw: bytes) -> Event:
    """The typed event of a body."""
    return typed_event(event_type, event_id=ID, raw=raw)


def plain(raw: bytes) -> Event:
    """The plain event of a body."""
    return plain_event(event_id=ID, raw=raw)


def test_a_reply() -> None:
    """A `contact.replied` event has all fields of the event reference."""
    event = typed("contact.replied", body_of("contact.replied"))
    assert isinstance(event, ContactReplied)
    assert (event.type, event.timestamp, event.company_id) == (
        "contact.replied",
        datetime(2026, 5, 20, 14, 32, tzinfo=UTC),
        "clxyz123",
    )
    data = event.data
    assert (data.contact_id, data.channel, data.subject) == ("clcontact001", "email", "Re: Quick question")
    assert (data.campaign_id, data.enrollment_id) == ("clcampaign001", "clenrollment001")


def test_a_reply_that_belongs_to_nothing() -> None:
    """A LinkedIn reply has no subject, and an unattributed reply has no campaign and no enrollment."""
    data = {"contactId": "c1", "channel": "linkedin", "campaignId": None, "enrollmentId": None}
    event = typed("contact.replied", body_of("contact.replied", data=data))
    assert event.data == ContactRepliedData(contact_id="c1", channel="linkedin")
    assert event.data.subject is event.data.campaign_id is event.data.enrollment_id is None


def test_an_enrollment() -> None:
    """An `enrollment.created` event has its documented fields."""
    event = typed("enrollment.created", body_of("enrollment.created"))
    assert isinstance(event, EnrollmentCreated)
    ids = (event.data.enrollment_id, event.data.contact_id, event.data.campaign_id)
    assert ids == ("clenrollment001", "clcontact001", "clcampaign001")


@pytest.mark.parametrize("reason", ["opt_out_keyword", "manual"])
def test_an_opt_out(reason: str) -> None:
    """An `enrollment.unsubscribed` event has each documented reason."""
    data = sample_data("enrollment.unsubscribed") | {"reason": reason}
    event = typed("enrollment.unsubscribed", body_of("enrollment.unsubscribed", data=data))
    assert isinstance(event, EnrollmentUnsubscribed)
    assert event.data.reason == reason


def test_the_models_have_their_names() -> None:
    """There is one model for each documented event, and a name for each model."""
    assert set(EVENT_MODELS) == {"contact.replied", "enrollment.created", "enrollment.unsubscribed"}
    assert {name: EVENT_NAMES[model] for name, model in EVENT_MODELS.items()} == {name: name for name in EVENT_MODELS}


@pytest.mark.parametrize("event_type", [*EVENT_MODELS, "campaign.completed"])
def test_every_event_knows_how_it_was_received(event_type: str) -> None:
    """Every event, typed or plain, has its id, its exact body, and says whether it is a replay."""
    raw = b" " + body_of(event_type)
    for event in (
        typed_event(event_type, event_id=ID, raw=raw, replayed=True),
        plain_event(event_id=ID, raw=raw, replayed=True),
    ):
        assert (event.id, event.raw, event.replayed) == (ID, raw, True)
    assert not typed(event_type, raw).replayed
    assert not plain(raw).replayed


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))])
def test_a_copy_is_the_same_event(copied: Any) -> None:
    """A copy of an event keeps its id and body."""
    event = typed("contact.replied", body_of("contact.replied"))
    again = copied(event)
    assert again == event
    assert (again.id, again.raw, again.replayed) == (event.id, event.raw, event.replayed)


def test_an_event_made_by_hand_was_not_received() -> None:
    """An event that code makes itself has neither an id nor a body."""
    event = ContactReplied(
        type="contact.replied",
        timestamp=datetime(2026, 5, 20, tzinfo=UTC),
        company_id="c",
        data=ContactRepliedData(contact_id="c", channel="email"),
    )
    assert (event.id, event.raw, event.replayed) == ("", b"", False)


def test_unknown_fields_are_kept() -> None:
    """Unknown fields of the envelope and the data are kept unchanged, and serialised under their names."""
    body = body_of(
        "contact.replied", data=sample_data("contact.replied") | {"sentimentScore": [1, {"a": 2}]}, apiVersion="2027"
    )
    event = typed("contact.replied", body)
    assert event.model_extra == {"apiVersion": "2027"}
    assert event.data.model_extra == {"sentimentScore": [1, {"a": 2}]}
    assert event.data.sentimentScore == [1, {"a": 2}]
    written = event.model_dump(by_alias=True, mode="json")
    assert written["apiVersion"] == "2027"
    assert written["data"] == orjson.loads(body)["data"]
    assert plain(body).model_extra == {"apiVersion": "2027"}
    assert plain(body).data["sentimentScore"] == [1, {"a": 2}]


@pytest.mark.parametrize("event_type", [*EVENT_MODELS, "campaign.completed"])
def test_fields_that_are_named_like_ours_do_no_harm(event_type: str) -> None:
    """Fields named like our attributes are kept as unknown fields, and our attributes keep their values."""
    raw = body_of(event_type, **OUR_NAMES)
    for event in (typed(event_type, raw), plain(raw)):
        assert (event.id, event.raw, event.replayed) == (ID, raw, False)
        assert (event.type, event.company_id) == (event_type, "clxyz123")
        assert event.timestamp == datetime(2026, 5, 20, 14, 32, tzinfo=UTC)
        assert isinstance(event, Event)
        assert callable(event.received_as)
        assert event.model_config["frozen"]
        assert event.model_extra == OUR_NAMES
        assert repr(event)
        again = event.model_dump(by_alias=True)
        assert {name: again[name] for name in ("event", "companyId", "type", "company_id")} == {
            "event": event_type,
            "companyId": "clxyz123",
            "type": "another.type",
            "company_id": "another company",
        }


def test_fields_of_data_that_are_named_like_ours_do_no_harm() -> None:
    """`contact_id` beside `contactId` is an unknown field."""
    named = {"contact_id": "another", "model_config": 1, "model_fields": 2, "__class__": 3}
    event = typed("contact.replied", body_of("contact.replied", data=sample_data("contact.replied") | named))
    assert event.data.contact_id == "clcontact001"
    assert event.data.model_extra == named


def test_only_konvoxs_names_are_read_from_the_wire() -> None:
    """`company_id` is not read as `companyId`, neither here nor by the receiver, which compares companies."""
    body = orjson.loads(body_of("contact.replied"))
    body["company_id"] = body.pop("companyId")
    assert typed("contact.replied", orjson.dumps(body)).company_id is None
    assert plain(orjson.dumps(body)).company_id is None


@pytest.mark.parametrize("form", ["typed", "plain"])
def test_an_event_is_immutable(form: str) -> None:
    """An event is immutable, because several handlers get the same one."""
    raw = body_of("contact.replied", extra=1)
    event = typed("contact.replied", raw) if form == "typed" else plain(raw)
    for name in ("type", "timestamp", "company_id", "data", "id", "raw", "replayed", "extra", "another"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event, name, "changed")
    with pytest.raises(AttributeError):
        setattr(event, "_receipt", "changed")  # noqa: B010 - mypy knows that this cannot be done
    assert (event.id, event.raw) == (ID, raw)
    assert event == (typed("contact.replied", raw) if form == "typed" else plain(raw))


def test_the_data_of_a_typed_event_is_immutable() -> None:
    """The data of a typed event is immutable too."""
    event = typed("contact.replied", body_of("contact.replied"))
    with pytest.raises(ValidationError, match="frozen"):
        event.data.channel = "linkedin"


def test_an_event_that_does_not_fit_names_its_fields() -> None:
    """The error of an event that does not fit names all wrong fields by Konvox's names, and no value."""
    raw = body_of(
        "contact.replied",
        timestamp="s3cret",
        companyId=["s3cret"],
        data={"contactId": ["s3cret"], "channel": "s3cret", "subject": {"s3cret": 1}, "campaignId": {"s3cret": 1}},
    )
    with pytest.raises(EventDoesNotFitError) as misfit:
        typed("contact.replied", raw)
    assert misfit.value.event_type == "contact.replied"
    named = [fault.partition(":")[0] for fault in misfit.value.faults]
    assert named == ["data.contactId", "data.campaignId"]
    assert "s3cret" not in str(misfit.value) + repr(misfit.value)
    assert misfit.value.__cause__ is None
    assert misfit.value.__suppress_context__


@pytest.mark.parametrize("event_type", EVENT_MODELS)
def test_without_data_there_is_no_typed_event(event_type: str) -> None:
    """What has no object in `data` has no reading as a typed event; a plain one it is all the same."""
    body = orjson.loads(body_of(event_type))
    del body["data"]
    no_objects: list[Any] = [None, "a", 1, True, [], [{}]]
    for raw in (orjson.dumps(body), *(orjson.dumps({**body, "data": data}) for data in no_objects)):
        with pytest.raises(EventDoesNotFitError, match="data: "):
            typed(event_type, raw)
        assert plain(raw).type == event_type


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"[]", b"{}", b'{"event": 5}', b'{"event": "contact.replied"'])
def test_what_is_no_event_is_malformed_in_both_forms(raw: bytes) -> None:
    """A body that is no event is malformed in both forms, rather than one that does not fit."""
    for event_type in ("contact.replied", "campaign.completed"):
        with pytest.raises(MalformedEventError):
            typed(event_type, raw)
    with pytest.raises(MalformedEventError):
        plain(raw)


def test_an_event_of_unknown_type_is_plain() -> None:
    """An event of unknown type has its data as a plain mapping."""
    event = typed("campaign.completed", body_of("campaign.completed", data={"campaignId": "c", "stats": [1, None]}))
    assert type(event) is Event
    assert event.data == {"campaignId": "c", "stats": [1, None]}
    assert event.company_id == "clxyz123"


@pytest.mark.parametrize(
    "timestamp",
    [None, True, "", "yesterday", "2026-13-45T99:00:00Z", "0000-00-00T00:00:00Z", {}, [], {"a": 1}, -1e300, 10**19],
)
def test_a_plain_event_bears_any_timestamp(timestamp: Any) -> None:
    """A plain event whose timestamp cannot be read has None, and `raw` holds the text."""
    assert plain(body_of("contact.replied", timestamp=timestamp)).timestamp is None


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 400, b"-" + b"9" * 4_000])
def test_a_plain_event_bears_any_number_for_a_timestamp(number: bytes) -> None:
    """A plain event with any number as timestamp has None or a time."""
    assert plain(b'{"event": "a", "timestamp": %s}' % number).timestamp is None


@given(
    st.dictionaries(
        st.sampled_from(["timestamp", "companyId", "data", *OUR_NAMES]) | st.text(max_size=10),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**63)
            | st.floats(allow_nan=False)
            | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
@example({})
@example({"timestamp": "9999-12-31T23:59:59-12:00", "companyId": "", "data": ""})
def test_what_was_admitted_can_be_had_as_a_plain_event(fields: dict[str, Any]) -> None:
    """Every accepted event can be read as a plain event with its data and its unknown fields."""
    raw = orjson.dumps({**fields, "event": "contact.replied"})
    came = orjson.loads(raw)
    event = plain(raw)
    assert (event.type, event.id, event.raw) == ("contact.replied", ID, raw)
    assert event.data == came.get("data")
    company = came.get("companyId")
    assert event.company_id == (company if isinstance(company, str) else None)
    documented = {"event", "timestamp", "companyId", "data"}
    assert event.model_extra == {name: value for name, value in came.items() if name not in documented}
    assert event == plain(raw)
    assert repr(event)


def test_the_body_does_not_show() -> None:
    """Neither a dump nor a repr holds the raw body."""
    event = typed("contact.replied", body_of("contact.replied"))
    assert event.model_dump().keys() == {"type", "timestamp", "company_id", "data"}
    assert orjson.loads(event.model_dump_json(by_alias=True)).keys() == {"event", "timestamp", "companyId", "data"}
    assert "_receipt" not in repr(event)
    assert "companyId" not in repr(event)
