"""How an event lies in a segment: as a frame with a number and a checksum. Pure: values to bytes and back.

There is one reader, `scan`, for whole segments and for damaged ones. Where a frame is not as it was written, it looks
for the next head that is. So damage costs the frames that it touches, and no other.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

_MAGIC = b"\xffKVX2"
"""The first bytes of a frame. 0xFF is in no UTF-8 text, so nothing that a sender writes can look like a frame."""

_HEAD = struct.Struct(">5sQI")  # magic, number, and length of the payload in bytes
_SUMS = struct.Struct(">I16s")  # the head's own checksum, to believe its length; and the digest of head and payload
HEAD_BYTES = _HEAD.size + _SUMS.size


class Scan(NamedTuple):
    """What a segment holds.

    Attributes:
        waiting: the numbers and payloads of the events that are not drained yet, in order.
        lost: how many of those that waited are known to be missing.
        is_damaged: whether any of it is not as it was written. A last frame that is cut off is not damage: its process
            was killed while it wrote, and had not acknowledged it.
    """

    waiting: list[tuple[int, bytes]]
    lost: int
    is_damaged: bool


def frame(number: int, payload: bytes) -> bytes:
    """A frame as it is written."""
    head = _HEAD.pack(_MAGIC, number, len(payload))
    return head + _SUMS.pack(crc32(head), _digest(head, payload)) + payload


def scan(image: bytes, *, first: int, before: int | None) -> Scan:
    """Read all bytes of a segment, of which events from number `first` on wait.

    If it is known that the next segment begins with `before`, all numbers below that must be there. What has that
    number or a higher one was never acknowledged.
    """
    waiting: list[tuple[int, bytes]] = []
    last, end, cut_off_at, has_gaps = first - 1, 0, -1, False
    for number, start, frame_end, payload in _frames_in(image):
        if payload is not None:
            has_gaps |= start != end
            end = frame_end
        elif frame_end > len(image):
            cut_off_at = start
            continue
        if last < number and (before is None or number < before):
            last = number
            waiting += [] if payload is None else [(number, payload)]
    last = last if before is None else before - 1
    lost = last - first + 1 - len(waiting)
    rest = image[end : end + HEAD_BYTES]
    is_torn = cut_off_at == end or (len(rest) < HEAD_BYTES and _MAGIC.startswith(rest[: len(_MAGIC)]))
    return Scan(waiting, lost, has_gaps or lost > 0 or not is_torn)


def _frames_in(image: bytes) -> Iterator[tuple[int, int, int, bytes | None]]:
    """Number, start, end and payload of each frame with an intact head; no payload where it is not what was written.

    Behind one whose payload is broken, the search begins inside it.
    """
    start = image.find(_MAGIC)
    while 0 <= start <= len(image) - HEAD_BYTES:
        next_start, begin = start + 1, start + HEAD_BYTES
        head = image[start : start + _HEAD.size]
        _, number, length = _HEAD.unpack(head)
        head_sum, digest = _SUMS.unpack_from(image, start + _HEAD.size)
        if head_sum == crc32(head):
            payload = image[begin : begin + length]
            is_intact = len(payload) == length and digest == _digest(head, payload)
            yield number, start, begin + length, payload if is_intact else None
            next_start = begin + length if is_intact else next_start
        start = image.find(_MAGIC, next_start)


def _digest(head: bytes, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16, key=head).digest()
