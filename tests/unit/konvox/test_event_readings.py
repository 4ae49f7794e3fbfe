"""Tests of what typed events make of values that Konvox does not document: each is read as far as it can be."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.envelope import parse_envelope
from konvox.events import EVENT_MODELS, ContactReplied, EnrollmentUnsubscribed, Event, plain_event, typed_event
from konvox.samples import sample_body, sample_data
from konvox.wire import UnknownValue

HAPPENED = "2026-05-20T14:32:00.000Z"
IDS = ["contact_id", "campaign_id", "enrollment_id"]
MARK = b"\xef\xbb\xbf"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ID_JSON = st.none() | st.integers() | st.text(max_size=10)


def typed(event_type: str, data: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The typed event of a sample body with some fields of its envelope and data changed."""
    fields = orjson.loads(sample_body(event_type, timestamp=HAPPENED))
    fields["data"] |= data or {}
    return typed_event(event_type, event_id="evt_1", raw=orjson.dumps(fields | changes))


def written(value: Any) -> Any:
    """A value as it is written in Konvox's JSON by the models."""
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize(
    ("event_type", "name"), [("contact.replied", "channel"), ("enrollment.unsubscribed", "reason")]
)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("instagram", "instagram"),
        ("", ""),
        ("EMAIL", "EMAIL"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ({"code": "a", "text": "b"}, '{"code":"a","text":"b"}'),
        (["manual"], '["manual"]'),
    ],
)
def test_a_value_that_is_not_documented_is_handled(event_type: str, name: str, value: Any, text: str) -> None:
    """A new value of an enumeration is an UnknownValue, which is its text, and another form of it is its JSON."""
    data = typed(event_type, {name: value}).data
    assert getattr(data, name) == text
    assert isinstance(getattr(data, name), UnknownValue)
    assert written(data)[name] == text
    assert orjson.dumps(data.model_dump()[name]) == orjson.dumps(text)


def test_a_documented_value_is_no_unknown_one() -> None:
    """A documented channel or reason can be told from an unknown one."""
    assert type(typed("contact.replied").data.channel) is str
    assert type(typed("enrollment.unsubscribed").data.reason) is str


@pytest.mark.parametrize("event_type", EVENT_MODELS)
@pytest.mark.parametrize("form", ["null", "missing"])
def test_every_field_may_be_null_or_missing(event_type: str, form: str) -> None:
    """A typed event with nothing in it but its type and an object of data is handled, with None for each field."""
    names = list(sample_data(event_type))
    data = dict.fromkeys(names) if form == "null" else {}
    body: dict[str, Any] = {"event": event_type, "data": data}
    if form == "null":
        body |= {"timestamp": None, "companyId": None}
    event: Any = typed_event(event_type, event_id="evt_1", raw=orjson.dumps(body))
    assert isinstance(event, EVENT_MODELS[event_type])
    assert (event.timestamp, event.company_id) == (None, None)
    assert set(dict(event.data).values()) == {None}
    assert written(event) == body


@pytest.mark.parametrize("event_type", EVENT_MODELS)
@pytest.mark.parametrize(("number", "text"), [(7, "7"), (0, "0"), (2**70, str(2**70)), (1.5, "1.5")])
def test_a_number_for_an_id_is_its_digits(event_type: str, number: float, text: str) -> None:
    """An id that comes as a number is the text of it."""
    raw = b'{"event": "%s", "data": {"contactId": %s, "campaignId": %s, "enrollmentId": %s}}'
    filled = raw % (event_type.encode(), *[str(number).encode()] * 3)
    data = typed_event(event_type, event_id="evt_1", raw=filled).data
    assert [getattr(data, name) for name in IDS] == [text] * 3


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-05-20T14:32:00.000Z", datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        ("2026-05-20T14:32:00Z", datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        ("2026-05-20T14:32Z", datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        ("2026-05-20 14:32:00.123456789+00:00", datetime(2026, 5, 20, 14, 32, 0, 123456, tzinfo=UTC)),
        ("2026-05-20T16:32:00+02:00", datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        ("2026-05-20T14:32:00.000", datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        ("2026-05-20", datetime(2026, 5, 20, tzinfo=UTC)),
        (1779287520, datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        (1779287520000, datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        (1779287520.5, datetime(2026, 5, 20, 14, 32, 0, 500_000, tzinfo=UTC)),
        ("1779287520", datetime(2026, 5, 20, 14, 32, tzinfo=UTC)),
        (None, None),
        (True, None),
        ("", None),
        ("yesterday", None),
        ({"at": 1}, None),
        ([], None),
        (10**19, None),
        ("0000-00-00T00:00:00Z", None),
    ],
)
def test_a_timestamp_in_any_form(value: Any, moment: datetime | None) -> None:
    """A time has an offset in whatever form it comes, so handlers can compare it; what is no time is None."""
    for event_type in EVENT_MODELS:
        event = typed(event_type, timestamp=value)
        assert event.timestamp == moment == plain_event(event_id="evt_1", raw=event.raw).timestamp
        assert moment is None or event.timestamp.utcoffset() is not None
    assert typed("contact.replied").timestamp - timedelta(1) < datetime.now(UTC)


@pytest.mark.parametrize(("company", "read"), [("c", "c"), ("", ""), (5, None), (["c"], None), (None, None)])
def test_a_company_is_a_text_or_none(company: Any, read: str | None) -> None:
    """A typed event has the same company as the receiver compares."""
    event = typed("contact.replied", companyId=company)
    assert event.company_id == read == parse_envelope(event.raw).company_id


def test_a_subject_in_another_form_is_its_json() -> None:
    """A subject that is no text does not keep the handler from running."""
    assert typed("contact.replied", {"subject": {"text": "Re: you"}}).data.subject == '{"text":"Re: you"}'
    assert typed("contact.replied", {"subject": 5}).data.subject == "5"


def test_a_byte_order_mark_is_ignored_by_both_forms() -> None:
    """A body with a byte order mark is read as one without; `raw` has it still."""
    raw = MARK + sample_body("contact.replied", timestamp=HAPPENED)
    for event in (
        typed_event("contact.replied", event_id="evt_1", raw=raw),
        plain_event(event_id="evt_1", raw=raw),
    ):
        assert event.raw == raw
        assert event.company_id == "clxyz123"


def test_of_equal_keys_the_last_counts_for_every_reader() -> None:
    """The receiver, a typed event and a plain one read the same one of two equal keys."""
    ids, companies = b'{"contactId":"a","contactId":"b"}', b'"companyId":1,"companyId":"c"'
    raw = b'{"event":"x","data":%s,"event":"contact.replied",%s}' % (ids, companies)
    typed_one = typed_event("contact.replied", event_id="evt_1", raw=raw)
    plain_one = plain_event(event_id="evt_1", raw=raw)
    assert isinstance(typed_one, ContactReplied)
    assert typed_one.type == plain_one.type == parse_envelope(raw).type == "contact.replied"
    assert typed_one.data.contact_id == plain_one.data["contactId"] == "b"
    assert typed_one.company_id == plain_one.company_id == parse_envelope(raw).company_id == "c"


@given(
    event_type=st.sampled_from(sorted(EVENT_MODELS)),
    envelope=st.dictionaries(st.sampled_from(["timestamp", "companyId", "id", "apiVersion"]), JSON),
    ids=st.dictionaries(st.sampled_from(["contactId", "campaignId", "enrollmentId"]), ID_JSON),
    data=st.dictionaries(st.sampled_from(["channel", "reason", "subject", "contact", "contact_id", ""]), JSON),
)
def test_whatever_has_an_object_of_data_and_readable_ids_is_handled(
    event_type: str, envelope: dict[str, Any], ids: dict[str, Any], data: dict[str, Any]
) -> None:
    """No value of any field but an id keeps a typed event from its handler, and unknown fields stay as they came."""
    raw = json.dumps({**envelope, "event": event_type, "data": {**data, **ids}}, allow_nan=False).encode()
    event = typed_event(event_type, event_id="evt_1", raw=raw)
    assert isinstance(event, Event)
    assert type(event) is EVENT_MODELS[event_type]
    came = json.loads(raw)
    assert event.model_extra == {name: came[name] for name in ("id", "apiVersion") if name in came}
    assert event.data.model_extra is not None
    assert event.data.model_extra.get("contact") == came["data"].get("contact")
    assert repr(event)
    assert event.model_dump_json()


def test_events_made_by_hand_take_new_values() -> None:
    """A test of a handler can make an event with a new value, and mypy accepts it as an UnknownValue."""
    data = {"reason": UnknownValue("list_unsubscribe_header")}
    event = EnrollmentUnsubscribed.model_validate({"event": "enrollment.unsubscribed", "data": data})
    assert event.data.reason == "list_unsubscribe_header"
