"""How an event lies in a spool file: as frames, each with a number and a checksum. Pure: values to bytes and back.

A frame is short enough to lie in one page of the SQLite file, in one piece. So whatever else of the file is damaged,
a frame that is intact can be found by looking for its first bytes, and can be believed because of its checksum.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from broker.records import Job

PAGE_BYTES = 8192
"""The page size of the SQLite file. Written into the file when it is made: never change it without a new `_START`."""

DATA_BYTES = 7_900
"""The most data of one frame: with its head it fits into a page, with all that SQLite puts beside it."""

_START = b"\xffKVXS1"
"""The first bytes of a frame. 0xFF is in no UTF-8 text, so nothing that a sender writes can look like a frame."""

_HEAD = struct.Struct(">6sQHHH")
_DIGEST_BYTES = 16

HEAD_BYTES = _HEAD.size + _DIGEST_BYTES
FRAME_BYTES = HEAD_BYTES + DATA_BYTES
"""The longest frame."""

PART_COLUMNS = (15, 2)
"""Where in a frame its part stands, as SQL's `substr` counts: from 1."""


class Frame(NamedTuple):
    """One piece of an event, or the mark that says how far the spool has been drained.

    Attributes:
        number: its place in the file, from 1 and without gaps; for the mark, the last number that has been drained.
        part: which piece of the event this is, from 0.
        parts: how many pieces the event has; 0 for the mark.
        data: the piece.
        intact: whether the checksum is right; if not, believe none of it.
    """

    number: int
    part: int
    parts: int
    data: bytes
    intact: bool = True

    @property
    def is_mark(self) -> bool:
        """Whether this is the mark."""
        return self.parts == 0


def frames_of(job: Job, *, first_number: int) -> list[bytes]:
    """An event as the frames that are stored, the first of which gets that number."""
    payload = job.to_bytes()
    parts = -(-len(payload) // DATA_BYTES)
    return [
        _frame(first_number + part, part, parts, payload[part * DATA_BYTES : (part + 1) * DATA_BYTES])
        for part in range(parts)
    ]


def mark_of(number: int) -> bytes:
    """The mark: everything up to this number has been drained."""
    return _frame(number, 0, 0, b"")


def read_frame(image: bytes, offset: int = 0) -> Frame | None:
    """The frame that begins there, intact or not; None if what stands there is none."""
    if len(image) - offset < HEAD_BYTES:
        return None
    start, number, part, parts, length = _HEAD.unpack_from(image, offset)
    begin = offset + HEAD_BYTES
    if start != _START or length > DATA_BYTES or (part >= parts and parts + part > 0):
        return None
    data = image[begin : begin + length]
    digest = image[offset + _HEAD.size : begin]
    return Frame(number, part, parts, data, intact=digest == _digest(image[offset : offset + _HEAD.size], data))


def find_frames(image: bytes, *, before: int) -> Iterator[tuple[int, Frame]]:
    """Every frame that begins in the first `before` bytes of a piece of a file, with its offset."""
    offset = image.find(_START)
    while 0 <= offset < before:
        frame = read_frame(image, offset)
        if frame is not None:
            yield offset, frame
        offset = image.find(_START, offset + 1)


def whole_events(frames: Iterable[Frame]) -> Iterator[tuple[int, bytes]]:
    """The events that are complete in a run of frames in the order of their numbers: last number and payload of each.

    A generator that stops in the middle of an event reads no further than its caller asks.
    """
    pieces: list[bytes] = []
    expected = 0
    for frame in frames:
        if frame.part == 0:
            pieces, expected = [], frame.number
        if frame.number != expected or len(pieces) != frame.part:
            pieces, expected = [], 0
            continue
        pieces.append(frame.data)
        expected += 1
        if len(pieces) == frame.parts:
            yield frame.number, b"".join(pieces)


def _frame(number: int, part: int, parts: int, data: bytes) -> bytes:
    head = _HEAD.pack(_START, number, part, parts, len(data))
    return head + _digest(head, data) + data


def _digest(head: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=head).digest()
