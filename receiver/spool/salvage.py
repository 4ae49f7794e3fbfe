"""What is left of a damaged spool: every frame that is intact, found in the file's bytes without SQLite's help.

Nothing is written to the file: what was found is drained from where it lies, and then the file is kept aside.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import structlog

from receiver.errors import SpoolDamagedError
from receiver.spool.files import SpoolFiles
from receiver.spool.frames import FRAME_BYTES, Frame, find_frames, read_frame, whole_events
from receiver.spool.reader import faults_as_errors
from receiver.spool.source import Portion, first_of, job_in

logger = structlog.get_logger("receiver")

_WINDOW_BYTES = 1024 * 1024
_BLOCK_BYTES = 4096
"""How much is given up where the disk cannot be read."""


class Findings(NamedTuple):
    """What a search has found.

    Attributes:
        places: for each frame of an event that is whole, by number: the file and the offset.
        events: for each event that is whole, its first and its last number, in order.
        lost: how many frames are known to be missing; those of which nothing at all is left are not known.
    """

    places: dict[int, tuple[Path, int]]
    events: list[tuple[int, int]]
    lost: int

    def payloads(self, *, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """The last number and the payload of each event, from the one with that index."""
        return whole_events(self._frames(start))

    def _frames(self, start: int) -> Iterator[Frame]:
        for index in range(start, len(self.events)):
            first, last = self.events[index]
            for number in range(first, last + 1):
                path, offset = self.places[number]
                with path.open("rb") as file:
                    file.seek(offset)
                    frame = read_frame(file.read(FRAME_BYTES))
                if frame is not None and frame.intact:
                    yield frame


class Salvage:
    """The intact events of a damaged spool. See `Source`.

    Args:
        files: the spool; SQLite must have closed it.
        drained_to: the number up to which it is known to be drained, if the file does not say so.
    """

    def __init__(self, files: SpoolFiles, *, drained_to: int = 0) -> None:
        self.files = files
        with faults_as_errors():
            self._findings = search((files.path, files.log), drained_to=drained_to)
            self._file_bytes = sum(path.stat().st_size for path in (files.path, files.log) if path.exists())
        self._done = 0

    @property
    def name(self) -> str:
        """The file's name."""
        return self.files.path.name

    @property
    def lost(self) -> int:
        """How many frames are known to be lost."""
        return self._findings.lost

    @property
    def count(self) -> int:
        """How many intact events wait in it."""
        return len(self._findings.events) - self._done

    @property
    def used_bytes(self) -> int:
        """How large the file is."""
        return self._file_bytes

    def oldest(self, *, most_events: int, most_bytes: int) -> Portion:
        """The oldest of the intact events; see `Source`. What cannot be read any more is left out, and said."""
        jobs = []
        up_to = self._findings.events[-1][1]  # where nothing can be read any more, nothing more is to come
        with faults_as_errors():
            found = self._findings.payloads(start=self._done)
            payloads = first_of(found, most_events=most_events, most_bytes=most_bytes)
            for last_number, payload in payloads:
                up_to = last_number
                try:
                    jobs.append(job_in(payload, name=self.name))
                except SpoolDamagedError as error:
                    logger.warning("spool.unreadable", file=self.name, reason=error.reason)
        return Portion(jobs, up_to)

    def remove(self, portion: Portion) -> None:
        """Go on behind these; see `Source`."""
        while self.count and self._findings.events[self._done][1] <= portion.up_to:
            self._done += 1

    def finish(self) -> None:
        """Keep the file aside; see `Source`."""
        with faults_as_errors():
            kept = self.files.set_aside()
        logger.warning("spool.set_aside", file=self.name, kept_as=kept.name)

    def close(self) -> None:
        """Let somebody else have it."""
        self.files.release()


def search(paths: tuple[Path, ...], *, drained_to: int = 0) -> Findings:
    """Look for intact events in the files of a spool, its log included.

    What has been drained is left out: the newest mark says how far that went.

    Raises:
        OSError: a file cannot be read at all.
    """
    frames: dict[int, tuple[Path, int, Frame]] = {}
    broken: set[int] = set()
    for path in paths:
        for offset, frame in _frames_of(path):
            if not frame.intact:
                broken.add(frame.number)
            elif frame.is_mark:
                drained_to = max(drained_to, frame.number)
            else:
                frames[frame.number] = path, offset, frame._replace(data=b"")
    numbers = sorted(number for number in frames if number > drained_to)
    last_numbers = [last for last, _ in whole_events(frames[number][2] for number in numbers)]
    events = [(last - frames[last][2].part, last) for last in last_numbers]
    places = {number: frames[number][:2] for first, last in events for number in range(first, last + 1)}
    highest = numbers[-1] if numbers else drained_to
    lost = highest - drained_to - len(places) + sum(number > highest for number in broken)
    return Findings(places, events, lost)


def _frames_of(path: Path) -> Iterator[tuple[int, Frame]]:
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        for start in range(0, size, _WINDOW_BYTES):
            image = _read(descriptor, start, _WINDOW_BYTES + FRAME_BYTES)
            for offset, frame in find_frames(image, before=_WINDOW_BYTES):
                yield start + offset, frame
    finally:
        os.close(descriptor)


def _read(descriptor: int, start: int, length: int) -> bytes:
    """The bytes there, with zeros for what the disk cannot read."""
    try:
        return os.pread(descriptor, length, start)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        if length <= _BLOCK_BYTES:
            return bytes(length)
    half = length // 2
    return _read(descriptor, start, half) + _read(descriptor, start + half, length - half)
