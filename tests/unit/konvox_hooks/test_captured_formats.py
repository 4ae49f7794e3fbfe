"""Tests of the formats in which captured events are read: indented JSON, arrays, gzip, and all of them damaged."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.records import Record
from konvox.samples import sample_body
from konvox_hooks.history import json_objects
from konvox_hooks.history.jsonl import CapturedEvents

EVENTS = [json.loads(sample_body(name, timestamp=f"t{name}")) for name in ("a.b", "c.d", "e.f")]
TRICKY = {"text": '}]{["', "escaped": 'a \\" } \\\\', "deep": [[{"x": [{}]}], {}], "unicode": "ü\u2028", "event": 7}

Layout = Callable[[list[Any]], str]

LAYOUTS: dict[str, Layout] = {
    "lines": lambda events: "\n".join(map(json.dumps, events)),
    "indented": lambda events: "\n".join(json.dumps(event, indent=2) for event in events),
    "indented by tabs": lambda events: "\r\n".join(json.dumps(event, indent="\t") for event in events),
    "not indented, over lines": lambda events: "\n".join(json.dumps(event, indent=0) for event in events),
    "an indented array": lambda events: json.dumps(events, indent=4),
    "an array over lines without indent": lambda events: json.dumps(events, indent=0),
    "an array on one line": json.dumps,
    "an array of lines": lambda events: "[\n" + ",\n".join(map(json.dumps, events)) + "\n]\n",
    "an array of indented lines": lambda events: "[\n  " + ",\n  ".join(map(json.dumps, events)) + "\n]",
    "commas first": lambda events: "[ " + "\n, ".join(json.dumps(event, indent=2) for event in events) + "\n]",
    "brackets beside braces": lambda events: "[" + ", ".join(json.dumps(event, indent=2) for event in events) + "]",
    "one after the other on a line": lambda events: " ".join(map(json.dumps, events)),
    "two arrays": lambda events: json.dumps(events[:1], indent=2) + "\n" + json.dumps(events[1:], indent=2),
}


def read(text: str | bytes) -> tuple[list[Any], CapturedEvents]:
    """Read a file of this content; returns the bodies, and the reader."""
    file = CapturedEvents(io.BytesIO(text if isinstance(text, bytes) else text.encode()), "x")
    return [json.loads(record.body) for record in file], file


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_layout_is_read(layout: Layout, packed: bool) -> None:
    """Events are read from JSON in each layout, compressed or not, whatever their data hold."""
    events = [{**event, "data": TRICKY} for event in EVENTS]
    text = ("\ufeff" + layout(events)).encode()
    bodies, file = read(gzip.compress(text) if packed else text)
    assert (bodies, file.fault) == (events, "")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(
        st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
    ),
    layout=st.sampled_from(list(LAYOUTS.values())),
)
def test_every_layout_is_read_with_any_data(data: list[Any], layout: Layout) -> None:
    """No data make an event of any layout unreadable."""
    events = [{"event": "x.y", "data": each} for each in data]
    bodies, file = read(layout(events))
    assert (bodies, file.fault) == (events, "")


def test_captured_requests_may_be_indented() -> None:
    """A captured request over many lines is read like one on a line, with its account and headers."""
    record = Record.capture(sample_body("a.b"), received_at_ms=1_780_000_000_000, headers={"a": "b"}, account="acme")
    indented = json.dumps(json.loads(record.to_line()), indent=2)
    assert list(CapturedEvents(io.BytesIO(indented.encode()), "x")) == [record]


def test_a_body_keeps_its_bytes() -> None:
    """The exact text of an indented body is kept, as that of a line is."""
    text = b'{\n  "event": "a.b",\n  "n": 1.0e0\n}'
    [record] = CapturedEvents(io.BytesIO(b"[" + text + b"]"), "x")
    assert record.raw == text


@pytest.mark.parametrize(
    ("text", "kept", "faulty"),
    [
        (LAYOUTS["lines"](EVENTS)[:-9], EVENTS[:2], [3]),
        (LAYOUTS["indented"](EVENTS)[:-9], EVENTS[:2], [17]),
        (LAYOUTS["an indented array"](EVENTS[:1])[:-2], EVENTS[:1], [1]),
        ('{"event": "cut of\n' + LAYOUTS["lines"](EVENTS), EVENTS, [1]),
        ('{"event": "cut", "data": {\n' + LAYOUTS["lines"](EVENTS), EVENTS, [1]),
        ('{\n  "event": "cut",\n' + LAYOUTS["indented"](EVENTS), EVENTS, [1]),
        ('{\n  "event": "cut",\n' + LAYOUTS["lines"](EVENTS), EVENTS, [1]),
        ('[\n  {\n    "event": "cut",\n' + json.dumps(EVENTS, indent=2)[2:], EVENTS, [2]),
        ('[\n  {"event": "cut"\n  ' + ",\n  ".join(map(json.dumps, EVENTS)) + "\n]", EVENTS, [2]),
        ("nonsense\n" + LAYOUTS["indented"](EVENTS), EVENTS, [1]),
        ("[1, 2]\n" + LAYOUTS["lines"](EVENTS), EVENTS, [1]),
        ("]\n,\n" + LAYOUTS["lines"](EVENTS), EVENTS, [1, 2]),
        (LAYOUTS["lines"](EVENTS) + " nonsense", EVENTS, [3]),
    ],
)
def test_what_breaks_off_costs_only_itself(
    text: str, kept: list[Any], faulty: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """An object that is cut off is reported with its line, and every event before and behind it is read."""
    bodies, file = read(text)
    assert bodies == kept
    reported = [int(line.split(":")[2]) for line in capsys.readouterr().err.splitlines()]
    assert reported == faulty
    assert file.faulty == len(faulty)


@pytest.mark.parametrize("cut", [1, 5, 8, 200])
def test_a_truncated_gzip_keeps_what_came_before(cut: int) -> None:
    """A compressed file that is cut off gives the events before the cut, and a fault that says so."""
    lines = [json.dumps({"event": "a.b", "data": number}) for number in range(4_000)]
    bodies, file = read(gzip.compress("\n".join(lines).encode())[:-cut])
    assert [body["data"] for body in bodies] == list(range(len(bodies)))
    assert len(bodies) > 2_000
    assert "breaks off" in file.fault


@pytest.mark.parametrize("tail", [b"garbage", b"\x1f\x8bgarbage"])
def test_a_damaged_gzip_keeps_what_came_before(tail: bytes) -> None:
    """Damage in a compressed file is a fault; several compressed files behind each other are one."""
    line = json.dumps(EVENTS[0]).encode() + b"\n"
    bodies, file = read(gzip.compress(line) + gzip.compress(line) + tail)
    assert bodies == [EVENTS[0]] * 2
    assert "damaged" in file.fault or "breaks off" in file.fault


def test_an_object_that_is_too_large_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An object over the limit is a fault, on one line or over many, and the next one is read."""
    monkeypatch.setattr(json_objects, "MOST_OBJECT_BYTES", 300)
    large = {"event": "a.b", "data": ["x" * 20] * 50}
    for indent in (None, 2):
        bodies, file = read(json.dumps(large, indent=indent) + "\n" + json.dumps(EVENTS[0]) + "\n")
        assert EVENTS[0] in bodies
        assert large not in bodies
        assert file.faulty >= 1
    assert "larger than" in capsys.readouterr().err


def test_memory_is_bounded_by_the_largest_object() -> None:
    """A large array over many lines is read with the memory of a few of its objects."""
    element = json.dumps({"event": "a.b", "data": "x" * 1000}, indent=2).encode()

    def chunks() -> Iterable[bytes]:
        """The file, piece by piece: 8 MB."""
        yield b"[\n"
        for number in range(8_000):
            yield (b",\n" if number else b"") + element
        yield b"\n]\n"

    compressed = io.BytesIO()
    with gzip.GzipFile(fileobj=compressed, mode="wb") as packed:
        packed.writelines(chunks())
    compressed.seek(0)
    tracemalloc.start()
    assert sum(1 for _ in CapturedEvents(compressed, "x")) == 8_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
