"""Tests of arrays of events: which body is one, and what text each of its events has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.envelope import Envelope, event_id, event_id_of_message, parse_delivery, parse_envelope
from konvox.errors import MalformedEventError, TooManyEventsError

GAPS = st.text(st.sampled_from(" \t\r\n"), max_size=3)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from(['"', "\\", '\\"', "],[", "}{", "\u2028", "\U0001f600", '{"event":"a"}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["a", "contact.replied", "é"])}, optional={"data": JSON_VALUES, "": JSON_VALUES}
)


def elements(body: bytes, most_events: int = 100) -> list[tuple[Envelope, bytes]]:
    """The events of a body that is an array."""
    delivered = parse_delivery(body, most_events=most_events)
    assert isinstance(delivered, list)
    return delivered


@given(
    events=st.lists(EVENTS, min_size=1, max_size=5),
    gaps=st.lists(GAPS, min_size=12, max_size=12),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_each_event_has_its_exact_text(
    events: list[Any], gaps: list[str], indent: int | None, ascii_only: bool, mark: str
) -> None:
    """However an array is written, the text of each event is what stands in the body, and is the same event alone."""
    texts = [json.dumps(event, indent=indent, ensure_ascii=ascii_only) for event in events]
    inside = ",".join(f"{gaps[2 * n]}{text}{gaps[2 * n + 1]}" for n, text in enumerate(texts))
    found = elements(f"{mark}{gaps[10]}[{inside}]{gaps[11]}".encode())
    assert [text.decode() for _, text in found] == texts
    for envelope, text in found:
        assert envelope == parse_envelope(text)
        assert event_id(envelope) == event_id(parse_envelope(text))


@pytest.mark.parametrize(
    "number", [b"1e400", b"-1E+400", b"1e-400", b"9" * 4_300, b"-" + b"9" * 4_300, b"-0", b"0.10", b"1E5"]
)
def test_numbers_keep_their_text(number: bytes) -> None:
    """A number of any size is in the event's text as it was written."""
    event = b'{"event":"a","data":%s}' % number
    assert [text for _, text in elements(b"[%s,%s]" % (event, event))] == [event, event]


def test_an_object_is_one_event() -> None:
    """A body that is no array is read as ever."""
    body = b'{"event": "a", "data": [1, 2]}'
    assert parse_delivery(body, most_events=1) == parse_envelope(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the array holds no event"),
        (b" [ ] ", "the array holds no event"),
        (b"[1]", "element 1 of the array: a JSON object is expected, this is a number"),
        (b'[{"event":"a"},null]', "element 2 of the array: a JSON object is expected, this is null"),
        (b'[{"event":"a"},[{"event":"b"}]]', "element 2 of the array: a JSON object is expected, this is an array"),
        (b'[{"event":"a"},{"event":" "}]', 'element 2 of the array: "event" must name the event, such as '),
        (b'[{"event":"a"}', "not JSON: "),
        (b'[{"event":"a"},]', "not JSON: "),
        (b'[{"event":"a"}{"event":"b"}]', "not JSON: "),
        (b'[{"event":"a"}],', "not JSON: "),
        (b'[{"event":"a","n":NaN}]', "not JSON: "),
        (b'[{"event":"a","n":"\\ud800"}]', "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b'"a"', "a JSON object is expected, this is a string"),
    ],
)
def test_an_array_with_anything_else_in_it_is_none(body: bytes, reason: str) -> None:
    """One element that is no event makes the whole array none, and the reason says which."""
    with pytest.raises(MalformedEventError) as refused:
        parse_delivery(body, most_events=100)
    assert refused.value.reason.startswith(reason)


def test_an_array_may_be_too_long() -> None:
    """The length of an array has a limit, which the error names."""
    event = b'{"event":"a"}'
    assert len(elements(b"[%s]" % b",".join([event] * 3), most_events=3)) == 3
    with pytest.raises(TooManyEventsError, match="at most 3 events"):
        elements(b"[%s]" % b",".join([event] * 4), most_events=3)


@given(st.binary(max_size=60).map(lambda noise: b"[" + noise + b"]"))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """Noise in brackets is refused as no event."""
    with pytest.raises(MalformedEventError):
        parse_delivery(body, most_events=10)


def test_events_of_one_message_have_different_ids() -> None:
    """The id of an event that came alone under a `webhook-id` is another than that of any place in an array."""
    ids = [event_id_of_message("msg_1", position) for position in (None, "0", "1", "10")]
    assert len(set(ids)) == 4
    assert ids == [event_id_of_message("msg_1", position) for position in (None, "0", "1", "10")]
