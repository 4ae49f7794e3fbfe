"""JSON objects in a stream of lines: one a line, or indented over many, alone or in an array. No I/O but the stream's.

Called by `history.jsonl`. Memory is bounded by the largest object, not by the file. An object that breaks off costs
itself and nothing of what follows: it ends at a raw line end within a string, or where the next object visibly begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import orjson

MOST_OBJECT_BYTES: Final = 64 * 1024 * 1024
"""The largest object. Konvox's events have some hundred bytes, and a receiver takes 1 MiB by default."""

NOT_CLOSED: Final = "the array that begins here is not closed: is the file complete?"
_BREAKS_OFF: Final = "not JSON: the object that begins here is not complete"
_TOO_LARGE: Final = f"this object is larger than {MOST_OBJECT_BYTES} bytes"
_NOT_JSON: Final = "not JSON"
_NOT_AN_OBJECT: Final = "a line must be a JSON object"

_BYTE_ORDER_MARK: Final = "\ufeff".encode()
_STRUCTURE: Final = re.compile(rb'[{}\[\]]|"[^"\\]*(?:\\.[^"\\]*)*(")?', re.DOTALL)
_SPACE: Final = re.compile(rb"\s*")
_SPACE_OR_COMMA: Final = re.compile(rb"[\s,]*")
_OPEN_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY, _QUOTE = map(ord, '{[]"')


class Lines(Protocol):
    """Where lines come from."""

    def readline(self, limit: int = -1, /) -> bytes:
        """The next line, or at most `limit` bytes of it; empty at the end."""
        ...


class Found(NamedTuple):
    """One object of the stream, or a place where there is none that can be read.

    Attributes:
        line: the number of the line on which it begins, from 1.
        text: the object's exact text; empty for a fault.
        fault: what is wrong; empty if it is an object, which may still be no valid JSON.
    """

    line: int
    text: bytes
    fault: str = ""


class _Object:
    """An object that goes over several lines, as far as it has come."""

    def __init__(self, line: int, indent: int) -> None:
        self.line = line
        self.indent = indent
        self.lines: list[tuple[int, bytes]] = []
        self.size = 0
        self.depth = 0

    @property
    def is_indented(self) -> bool:
        """Whether a person or a program has laid it out over lines: its second line stands further in."""
        return len(self.lines) > 1 and _indent(self.lines[1][1]) > self.indent


def objects(stream: Lines) -> Iterator[Found]:
    """The objects of a stream, and its faults, in order."""
    return _Reader().read(stream)


class _Reader:
    def __init__(self) -> None:
        self._arrays: list[int] = []  # the lines on which the open arrays begin
        self._open: _Object | None = None

    def read(self, stream: Lines) -> Iterator[Found]:
        number = 0
        while line := stream.readline(MOST_OBJECT_BYTES + 1):
            number += 1
            line = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            if len(line) > MOST_OBJECT_BYTES:
                yield Found(number, b"", _TOO_LARGE)
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MOST_OBJECT_BYTES)
            elif line.strip():
                yield from self._take(number, line)
        yield from self._give_up()
        yield from (Found(begin, b"", NOT_CLOSED) for begin in self._arrays)

    def _take(self, number: int, line: bytes) -> Iterator[Found]:
        if self._open is not None and self._next_begins(self._open, line):
            yield from self._give_up()
        if self._open is None and not self._arrays and _is_object(line.strip()):
            yield Found(number, line.strip())  # a line of JSON Lines: by far the most
            return
        yield from self._scan(number, line)

    def _scan(self, number: int, line: bytes) -> Iterator[Found]:
        """Take the objects that end on this line, and begin the one that does not."""
        position = 0
        while True:
            if self._open is None:
                # Between objects a comma is fine: in an array, or behind the last one.
                space = _SPACE_OR_COMMA if self._arrays or position else _SPACE
                found = space.match(line, position)
                position = found.end() if found else position
                if position == len(line):
                    return
                if line[position] != _OPEN_OBJECT:
                    if fault := self._between(line, position, number):
                        yield Found(number, b"", fault)
                        return
                    position += 1
                    continue
                self._open = _Object(number, _indent(line) if not line[:position].strip() else 0)
            end, broken = _end_of_object(self._open, line, position)
            self._open.lines.append((number, line[position:end]))
            self._open.size += end - position
            if broken or self._open.size > MOST_OBJECT_BYTES:
                yield from self._give_up(_BREAKS_OFF if broken else _TOO_LARGE)
                return
            if self._open.depth > 0:
                return
            yield Found(self._open.line, b"".join(text for _, text in self._open.lines))
            self._open, position = None, end

    def _between(self, line: bytes, position: int, number: int) -> str:
        """Take the beginning or the end of an array; returns the fault if there is something else between objects."""
        if line[position] == _OPEN_ARRAY and not self._arrays:
            self._arrays.append(number)
            return ""
        if line[position] == _CLOSE_ARRAY and self._arrays:
            self._arrays.pop()
            return ""
        if self._arrays and self._arrays[-1] == number:
            self._arrays.pop()  # it was no array of events
        return _NOT_JSON if _json_value(line.strip()) is None else _NOT_AN_OBJECT

    def _next_begins(self, unfinished: _Object, line: bytes) -> bool:
        """Whether a line begins another object, because the unfinished one breaks off."""
        text = line.strip()
        if not text.startswith(b"{") or _indent(line) > unfinished.indent:
            return False
        return unfinished.is_indented or _is_record(text)

    def _give_up(self, fault: str = _BREAKS_OFF) -> Iterator[Found]:
        """Report the unfinished object: as one if it is laid out over lines, otherwise each of its lines."""
        unfinished, self._open = self._open, None
        if unfinished is None:
            return
        lines = unfinished.lines[:1] if unfinished.is_indented else unfinished.lines
        yield from (Found(number, b"", fault) for number, _ in lines)


def _end_of_object(unfinished: _Object, line: bytes, position: int) -> tuple[int, bool]:
    """Where the object ends on this line, or the line's end; and whether a string is cut off there."""
    for token in _STRUCTURE.finditer(line, position):
        kind = line[token.start()]
        if kind == _QUOTE:
            if token[1] is None:
                return len(line), True
        elif kind in {_OPEN_OBJECT, _OPEN_ARRAY}:
            unfinished.depth += 1
        else:
            unfinished.depth -= 1
            if unfinished.depth == 0:
                return token.end(), False
    return len(line), False


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))


def _is_object(text: bytes) -> bool:
    """Whether a line is to be read alone: one object, whole or at least closed on the same line."""
    if not text.startswith(b"{"):
        return False
    if _json_value(text) is not None:  # nearly always, and three times as fast as the look at its structure
        return True
    alone = _Object(0, 0)
    end, _ = _end_of_object(alone, text, 0)
    return alone.depth == 0 and end == len(text)


def _is_record(text: bytes) -> bool:
    """Whether a line, perhaps an element of an array, is an event or a captured request."""
    end = text.rfind(b"}") + 1
    fields = _json_value(text[:end])
    return isinstance(fields, dict) and not {"event", "body", "body_base64"}.isdisjoint(fields)


def _json_value(text: bytes) -> object:
    """The value of a text that is JSON; None for another text, or for null."""
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value
