"""Tests of envelopes and ids: which body is an event, and when two bodies are the same event."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from konvox.envelope import Envelope, event_id, parse_envelope
from konvox.errors import MalformedEventError
from konvox.inferred import IDENTITY_FIELDS
from konvox.samples import sample_body

FIELDS: dict[str, Any] = {
    "event": "contact.replied",
    "timestamp": "2026-05-20T14:32:00.000Z",
    "companyId": "clxyz123",
    "data": {"contactId": "c1", "subject": None, "tags": ["a", "b"]},
}

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
EVENT_NAMES = st.text(min_size=1, max_size=20).filter(str.strip)


def id_of(fields: Any) -> str:
    """The id of the event with these fields, from its body."""
    return event_id(parse_envelope(json.dumps(fields).encode()))


def id_of_body(body: bytes) -> str:
    """The id of the event with this body."""
    return event_id(parse_envelope(body))


def reordered(value: Any, order: random.Random) -> Any:
    """The same value with the keys of all its objects in another order."""
    if isinstance(value, dict):
        items = list(value.items())
        order.shuffle(items)
        return {name: reordered(item, order) for name, item in items}
    if isinstance(value, list):
        return [reordered(item, order) for item in value]
    return value


@given(
    fields=st.fixed_dictionaries({"event": EVENT_NAMES}, optional=dict.fromkeys(IDENTITY_FIELDS[1:], JSON_VALUES)),
    order=st.randoms(use_true_random=False),
    indent=st.none() | st.integers(0, 4),
    ascii_only=st.booleans(),
    blank=st.sampled_from(["", " ", "\n", "\t \r\n"]),
)
def test_order_white_space_and_escapes_do_not_change_the_id(
    fields: dict[str, Any], order: random.Random, indent: int | None, ascii_only: bool, blank: str
) -> None:
    """An event has the same id with any order of keys, white space and escapes, at any depth."""
    rewritten = json.dumps(reordered(fields, order), indent=indent, ensure_ascii=ascii_only)
    minted = id_of_body(f"{blank}{rewritten}{blank}".encode())
    assert minted == id_of(fields)
    assert re.fullmatch(r"evt_[a-z2-7]{26}", minted)


@given(
    field=st.sampled_from(IDENTITY_FIELDS[1:]),
    one=JSON_VALUES,
    other=JSON_VALUES,
    rest=st.dictionaries(EVENT_NAMES, JSON_VALUES),
)
@example(field="data", one=1, other=1.0, rest={})
@example(field="data", one=1, other=True, rest={})
@example(field="data", one=None, other="null", rest={})
@example(field="data", one=[], other={}, rest={})
@example(field="data", one=2**64, other=2**64 + 1, rest={})
@example(field="data", one=float(2**70), other=2**70, rest={})
@example(field="data", one=10**40, other="1" + "0" * 40, rest={})
@example(field="data", one={"a": None}, other={}, rest={})
def test_a_change_in_an_identity_field_is_another_event(field: str, one: Any, other: Any, rest: dict[str, Any]) -> None:
    """Any change in an identity field makes another id, whatever else is in the body."""
    assume(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))
    fields = {**rest, **FIELDS}
    assert id_of(fields | {field: one}) != id_of(fields | {field: other})
    without = {name: value for name, value in fields.items() if name != field}
    assert id_of(without) != id_of(fields | {field: one})


@given(one=EVENT_NAMES, other=EVENT_NAMES)
@example(one="contact.replied", other="contact.replied ")
def test_another_name_is_another_event(one: str, other: str) -> None:
    """Another name makes another id, also where only white space differs."""
    assert (id_of(FIELDS | {"event": one}) == id_of(FIELDS | {"event": other})) is (one == other)


@given(name=st.text().filter(lambda name: name not in IDENTITY_FIELDS), value=JSON_VALUES)
def test_fields_beyond_the_identity_do_not_change_the_id(name: str, value: Any) -> None:
    """A field outside the identity, such as a number of the attempt, does not change the id."""
    assert id_of(FIELDS | {name: value}) == id_of(FIELDS)


def test_the_identity_can_be_chosen() -> None:
    """With fewer identity fields more bodies are the same event, and the order of the fields does not matter."""
    envelope = parse_envelope(json.dumps(FIELDS).encode())
    later = parse_envelope(json.dumps(FIELDS | {"timestamp": "2026-05-20T14:33:00.000Z"}).encode())
    chosen = ("event", "companyId", "data")
    assert event_id(envelope) != event_id(later)
    assert event_id(envelope, chosen) == event_id(later, chosen) == event_id(later, chosen[::-1])


@pytest.mark.parametrize(
    ("body", "minted"),
    [
        (sample_body("contact.replied", timestamp="2026-05-20T14:32:00.000Z"), "evt_4gdeuxqjxiv7wti5mgwrjdwtld"),
        (sample_body("campaign.completed", timestamp="2026-05-20T14:32:00.000Z"), "evt_n3mvgtaeza7fdsqxcqn3cvjo6c"),
        (b'{"event":"a","data":null}', "evt_sjow6v2dtypymm6p4oatmfggs6"),
        (b'{"event":"a","data":18446744073709551616}', "evt_rryexmj6n6ps3nvepdtjqsbatg"),
    ],
)
def test_ids_stay_as_they_are(body: bytes, minted: str) -> None:
    """An id is the same in every version: programs downstream and the dedupe window of an update rely on it."""
    assert id_of_body(body) == minted


def test_numbers_beyond_any_float_differ_from_null() -> None:
    """`1e400` is read as infinity, and is another value than null or than its negative."""
    ids = {id_of_body(b'{"event": "a", "data": [%s]}' % number) for number in (b"1e400", b"-1e400", b"null", b'"null"')}
    assert len(ids) == 4


def test_keys_that_stand_twice_are_read_one_way() -> None:
    """The last of two equal keys counts, for the id as for every later reader of the body."""
    body = b'{"event": "a", "event": "b", "data": 1, "data": 2}'
    assert parse_envelope(body).type == "b"
    assert id_of_body(body) == id_of({"event": "b", "data": 2})


@given(fields=st.dictionaries(st.text(max_size=10), JSON_VALUES), name=EVENT_NAMES)
def test_an_event_is_read_as_it_is(fields: dict[str, Any], name: str) -> None:
    """All fields of an event are read, whatever they are, and only the name is required."""
    fields = {**fields, "event": name}
    assert parse_envelope(json.dumps(fields).encode()) == Envelope(name, fields)


@given(st.binary(max_size=200))
@example(b"")
@example(b"null")
@example(b"\xef\xbb\xbf{}")
@example(b"\xff\xfe{\x00}\x00")
@example(b"[" * 1_000_000)
@example(b'{"a":' * 100_000)
@example(b'{"event": ' + b"9" * 5_000 + b"}")
@example(b"-")
@example(b'"\\ud800"')
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """Noise is refused with MalformedEventError."""
    with pytest.raises(MalformedEventError):
        parse_envelope(body)


@given(body=st.sampled_from([json.dumps(FIELDS).encode(), b'{"event":"a","data":[1e9,null]}']), data=st.data())
def test_no_near_miss_raises_anything_else(body: bytes, data: st.DataObject) -> None:
    """A good body with a few bytes changed is an event with an id, or is refused with MalformedEventError."""
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        envelope = parse_envelope(bytes(changed))
    except MalformedEventError:
        return
    assert re.fullmatch(r"evt_[a-z2-7]{26}", event_id(envelope))
    assert bytes(changed).decode()  # it is stored as a text


@pytest.mark.parametrize("depth", [10, 190, 199, 200, 201, 250, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_can_be_read_has_an_id_at_any_depth(opening: bytes, closing: bytes, depth: int) -> None:
    """The reader's limit of depth comes before that of the writer, which mints the id."""
    body = b'{"event": "a", "data": ' + opening * depth + b"1" + closing * depth + b"}"
    try:
        envelope = parse_envelope(body)
    except MalformedEventError:
        assert depth >= 190
    else:
        assert event_id(envelope)


@pytest.mark.parametrize("sign", [b"", b"-"])
@pytest.mark.parametrize("digits", [19, 20, 4_299, 4_300])
def test_what_can_be_read_has_an_id_at_any_length(sign: bytes, digits: int) -> None:
    """Integers of any length that Python can write have different ids."""
    body = b'{"event": "a", "data": ' + sign + b"9" * digits + b"}"
    assert id_of_body(body) != id_of_body(body.replace(b"9}", b"8}"))


@pytest.mark.parametrize("sign", [b"", b"-"])
@pytest.mark.parametrize("digits", [4_301, 5_000])
def test_what_python_could_not_write_is_refused_when_read(sign: bytes, digits: int) -> None:
    """A number with more than 4,300 digits is refused when it is read, because no id could be made later."""
    with pytest.raises(MalformedEventError, match="number out of range"):
        parse_envelope(b'{"event": "a", "data": ' + sign + b"9" * digits + b"}")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "a JSON object is expected, this is an array"),
        (b'"a"', "a JSON object is expected, this is a string"),
        (b"true", "a JSON object is expected, this is a boolean"),
        (b"null", "a JSON object is expected, this is null"),
        (b"1", "a JSON object is expected, this is a number"),
        (b"1.5", "a JSON object is expected, this is a number"),
        (b"{}", '"event" must name the event, such as "contact.replied"'),
        (b'{"event": ""}', '"event" must name the event, such as "contact.replied"'),
        (b'{"event": " \\n"}', '"event" must name the event, such as "contact.replied"'),
        (b'{"event": 1}', '"event" must name the event, such as "contact.replied"'),
        (b'{"Event": "a"}', '"event" must name the event, such as "contact.replied"'),
        (b"NaN", "not JSON: expected value at line 1 column 1"),
    ],
)
def test_the_reason_says_what_is_wrong(body: bytes, reason: str) -> None:
    """The reason of a refusal says in words for the sender and the log what is wrong."""
    with pytest.raises(MalformedEventError) as refused:
        parse_envelope(body)
    assert refused.value.reason == reason
    assert str(refused.value) == f"not a Konvox event: {reason}"


@pytest.mark.parametrize(
    "body",
    [
        b's3cret {"event": "a"}',
        b'{"event": "a" "s3cret"}',
        b'{"s3cret": s3cret}',
        b'{"s3cret": "\xff"}',
        b'{"s3cret": "\\uZZZZ"}',
        b'{"s3cret": 1, "event": 3}',
        b'["s3cret"]',
    ],
)
def test_the_reason_holds_nothing_of_the_body(body: bytes) -> None:
    """The reason may be logged and sent back, because it holds nothing of the body."""
    with pytest.raises(MalformedEventError) as refused:
        parse_envelope(body)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("company", [None, 1, ["clxyz123"], {"id": "clxyz123"}, True])
def test_a_company_that_is_no_text_is_none(company: Any) -> None:
    """A company id that is no text counts as none."""
    assert parse_envelope(orjson.dumps(FIELDS | {"companyId": company})).company_id is None


def test_the_company_is_read() -> None:
    """The company is read as it is on the wire, and is None where it is missing."""
    assert parse_envelope(orjson.dumps(FIELDS)).company_id == "clxyz123"
    assert parse_envelope(b'{"event": "a", "company_id": "clxyz123"}').company_id is None
