"""Tests of sample events: they are as Konvox documents them, and share nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from konvox.envelope import event_id, parse_envelope
from konvox.events import EVENT_MODELS, typed_event
from konvox.samples import sample_body, sample_data, wire_timestamp


@pytest.mark.parametrize("event_type", EVENT_MODELS)
def test_every_documented_event_has_a_sample_that_fits_its_model(event_type: str) -> None:
    """Every documented event has a sample that fits its model and has no unknown field."""
    event = typed_event(event_type, event_id="evt_1", raw=sample_body(event_type))
    assert type(event) is EVENT_MODELS[event_type]
    assert event.data.model_extra == {}
    assert event.company_id == "clxyz123"


def test_the_wire_data_is_camel_case() -> None:
    """The names in a sample are those of the event reference."""
    assert sample_data("enrollment.unsubscribed").keys() == {"enrollmentId", "contactId", "campaignId", "reason"}
    assert sample_data("contact.replied")["channel"] == "email"


def test_an_event_of_another_type_has_a_small_mapping() -> None:
    """The sample of an undocumented event is a plain mapping."""
    assert sample_data("campaign.completed") == {"sample": True}
    assert parse_envelope(sample_body("campaign.completed")).type == "campaign.completed"


def test_a_sample_may_be_changed_at_will() -> None:
    """A change of one sample does not change the next."""
    for event_type in ("contact.replied", "something.else"):
        untouched = sample_data(event_type)
        sample_data(event_type).clear()
        assert sample_data(event_type) == untouched != {}


def test_the_envelope_is_the_documented_one() -> None:
    """The envelope has event, timestamp, companyId and data in this order, with the given values."""
    body = sample_body(
        "contact.replied",
        data={"contactId": "c1"},
        company_id="cl9",
        timestamp=datetime(2026, 5, 20, 14, 32, tzinfo=UTC),
    )
    assert body == (
        b'{"event":"contact.replied","timestamp":"2026-05-20T14:32:00.000Z","companyId":"cl9","data":{"contactId":"c1"}}'
    )


def test_empty_data_is_sent_as_it_is() -> None:
    """Empty data is sent as it is, and is not replaced by the sample."""
    assert orjson.loads(sample_body("contact.replied", data={}))["data"] == {}


def test_the_timestamp_is_now_unless_given() -> None:
    """By default the timestamp is the current time, with milliseconds and Z."""
    before = wire_timestamp(datetime.now(UTC))
    timestamp = orjson.loads(sample_body("contact.replied"))["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    assert before <= timestamp <= wire_timestamp(datetime.now(UTC))


def test_a_text_is_a_timestamp_as_it_is() -> None:
    """A timestamp that is a text is sent unchanged, which allows invalid ones."""
    assert orjson.loads(sample_body("contact.replied", timestamp="yesterday"))["timestamp"] == "yesterday"


def test_the_same_arguments_make_the_same_event() -> None:
    """Two bodies with the same timestamp are one event, and with different timestamps two."""

    def identity(moment: datetime) -> str:
        return event_id(parse_envelope(sample_body("contact.replied", timestamp=moment)))

    moment = datetime(2026, 5, 20, tzinfo=UTC)
    assert identity(moment) == identity(moment) != identity(moment + timedelta(milliseconds=1))


def test_a_moment_is_written_in_utc() -> None:
    """A moment in another time zone is converted to UTC, and cut to milliseconds."""
    moment = datetime(2026, 5, 20, 1, 0, 0, 123999, tzinfo=timezone(timedelta(hours=2)))
    assert wire_timestamp(moment) == "2026-05-19T23:00:00.123Z"


def test_a_moment_without_a_time_zone_is_refused() -> None:
    """A moment without a time zone is refused, because a guess could shift it."""
    with pytest.raises(ValueError, match="time zone"):
        wire_timestamp(datetime(2026, 5, 20))  # noqa: DTZ001 - the case under test
