"""One segment: a file of frames that grows at its end and is drained from its beginning. Used by `spool`.

What is appended is on stable storage when `append` returns. The segment that is drained takes no more events. It is
read into memory; after each batch its name says which event waits first, and in the end it is removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from broker.errors import MalformedRecordError
from broker.private_files import open_private
from broker.records import Job
from receiver.spool.folder import DAMAGED_SUFFIX, segment_path, sync_file, sync_folder
from receiver.spool.frames import scan

_BLOCK_BYTES = 4096  # so much is given up where the disk cannot be read

logger = structlog.get_logger("receiver")


class SpoolBatch(NamedTuple):
    """The oldest events of a segment, and the number up to which they are taken out of it once they are drained."""

    jobs: Sequence[Job]
    segment: Segment
    up_to: int


class Segment:
    """A file of frames. What the disk raises is OSError here."""

    def __init__(self, path: Path, first: int, before: int | None = None, descriptor: int = -1) -> None:
        self.path = path
        self.key = path.name.split(".")[0]  # whose it is; see `folder`
        self.before = before  # the number with which the next segment begins, if that is known
        self.count = 0 if before is None else before - first  # of the events that wait in it
        self.size_bytes = path.stat().st_size
        self.is_damaged = False  # not all of it could be read, and it is kept for a person
        self._first = first
        self._descriptor = descriptor
        self._waiting: list[tuple[int, bytes]] | None = None

    @classmethod
    def create(cls, folder: Path, key: str, first: int) -> Self:
        """Make an empty one. Its name is on stable storage when this returns."""
        path = segment_path(folder, key, first)
        os.close(open_private(path, os.O_WRONLY | os.O_TRUNC))
        sync_folder(folder)
        return cls(path, first, descriptor=os.open(path, os.O_RDWR | os.O_APPEND))

    def append(self, frames: bytes, *, events: int) -> None:
        """Write the frames of so many events. Append nothing more after a failure.

        Part of them may be there then. And the kernel may forget what it could not write: the next fsync succeeds.
        """
        if os.write(self._descriptor, frames) < len(frames):
            raise OSError("the disk is full")
        sync_file(self._descriptor)
        self.size_bytes += len(frames)
        self.count += events

    def load(self) -> None:
        """Read what waits in it, and report damage."""
        image = b""
        with suppress(FileNotFoundError):  # somebody has removed it: everything is lost
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_RDONLY)
            size_bytes = os.fstat(self._descriptor).st_size
            image = b"".join(_block(self._descriptor, start) for start in range(0, size_bytes, _BLOCK_BYTES))
        self.close()
        self._waiting, lost, self.is_damaged = scan(image, first=self._first, before=self.before)
        self.count = len(self._waiting)
        if self.is_damaged:
            logger.error("spool.damaged", file=self.path.name, intact=self.count, lost_at_least=lost)

    def oldest(self, *, most_events: int, most_bytes: int) -> SpoolBatch:
        """The oldest events, at least one if there is any that can be read."""
        if self._waiting is None:
            self.load()
        jobs, up_to = [], 0
        for number, payload in (self._waiting or ())[:most_events]:
            most_bytes -= len(payload)
            if up_to and most_bytes < 0:
                break
            up_to = number
            try:
                jobs.append(Job.from_bytes(payload))
            except MalformedRecordError as error:
                self.is_damaged = True
                logger.warning("frame.not_decoded", file=self.path.name, number=number, reason=str(error))
        return SpoolBatch(jobs, self, up_to)

    def remove(self, up_to: int) -> None:
        """Take out the events up to that number. This process knows it, and if the disk takes it, the next one too."""
        self._waiting = [event for event in self._waiting or () if event[0] > up_to]
        self.count = len(self._waiting)
        try:
            if self.count:
                self.path = self.path.rename(segment_path(self.path.parent, self.key, up_to + 1))
                sync_folder(self.path.parent)
        except OSError as error:
            # A process that adopts the segment drains these again, and Redis knows what it has seen.
            logger.warning("drain.not_recorded", file=self.path.name, reason=error.strerror)

    def retire(self) -> None:
        """Remove a segment that is drained; or if it is damaged, keep it aside for a person to look at."""
        self.close()
        try:
            if self.is_damaged:
                kept = self.path.rename(f"{self.path}{DAMAGED_SUFFIX}")
                logger.warning("spool.quarantined", file=self.path.name, kept_as=kept.name)
            else:
                self.path.unlink()
            sync_folder(self.path.parent)
        except OSError as error:
            logger.warning("segment.not_removed", file=self.path.name, reason=error.strerror)  # it will be adopted

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _block(descriptor: int, start: int) -> bytes:
    try:
        return os.pread(descriptor, _BLOCK_BYTES, start)
    except OSError:
        return bytes(_BLOCK_BYTES)  # the disk cannot read it
