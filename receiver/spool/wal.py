"""Whether a write-ahead log holds commits that SQLite will not see. Pure; asked before a left-over spool is opened.

SQLite reads its log up to the first frame whose checksum is wrong, and throws the rest away without a word. That is
right after a crash in the middle of a commit, and wrong where a commit that was answered for has been damaged. The two
can be told apart: after a crash no commit follows. The format is documented at https://sqlite.org/walformat.html.
"""

from __future__ import annotations

import struct

from receiver.spool.frames import PAGE_BYTES

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_BYTES
_ORDER_BY_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_WORD = 0xFFFFFFFF


def hides_commits(log: bytes) -> bool:
    """Whether behind the part of the log that SQLite will read there is another commit."""
    frames = (len(log) - _HEADER_BYTES) // _FRAME_BYTES
    if frames <= 0:
        return False
    return _last_commit(log, frames) > _readable_frames(log, frames)


def _readable_frames(log: bytes, frames: int) -> int:
    """How many frames, from the first, have the checksums that they should have."""
    magic, _, page_bytes = struct.unpack_from(">3I", log)
    order = _ORDER_BY_MAGIC.get(magic)
    if order is None or page_bytes != PAGE_BYTES:
        return 0
    sums = _checksum(log[:24], (0, 0), order)
    if sums != struct.unpack_from(">2I", log, 24):
        return 0
    salts = log[16:24]
    for frame in range(frames):
        start = _HEADER_BYTES + frame * _FRAME_BYTES
        page = start + _FRAME_HEADER_BYTES
        sums = _checksum(log[start : start + 8] + log[page : page + PAGE_BYTES], sums, order)
        if log[start + 8 : start + 16] != salts or sums != struct.unpack_from(">2I", log, start + 16):
            return frame
    return frames


def _last_commit(log: bytes, frames: int) -> int:
    """The number, from 1, of the last frame that ends a commit of the log's present run; 0 if there is none.

    A log is written from the beginning again and again, each run with two salts of its own, which stand in the header
    and in each frame. Any of them may be damaged: one of the two is enough, in the header or in the first frame.
    """
    salts = [_salts(log, 16), _salts(log, _HEADER_BYTES + 8)]
    for frame in range(frames, 0, -1):
        start = _HEADER_BYTES + (frame - 1) * _FRAME_BYTES
        (pages_after_commit,) = struct.unpack_from(">I", log, start + 4)
        first, second = _salts(log, start + 8)
        if pages_after_commit and any(first == salt[0] or second == salt[1] for salt in salts):
            return frame
    return 0


def _salts(log: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(">2I", log, offset)
    return first, second


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = sums
    for even, odd in struct.iter_unpack(f"{order}2I", data):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
