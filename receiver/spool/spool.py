"""The spool: where the receiver keeps events, on disk, while Redis cannot take them. Used by `receiver.failover`.

A 200 for an event that was spooled means: its frame is written and fsync'd. Everything that touches the disk runs in
one thread, and is given up after `DISK_SECONDS`: a slow disk holds up neither the event loop nor a sender.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

import structlog

from broker.records import Job
from receiver.errors import SpoolError, SpoolFolderError, SpoolFullError
from receiver.spool.folder import make_folder, segments_by_key, take_lock, used_bytes
from receiver.spool.frames import frame
from receiver.spool.segment import Segment, SpoolBatch

SEGMENT_BYTES = 4 * 1024 * 1024  # a longer segment takes no more: bounds what draining holds in memory
BATCH_BYTES = 4 * 1024 * 1024  # the most text of one batch to drain: bounds how long Redis takes
DISK_SECONDS = 4.0  # for the disk; with what Redis is given, a sender is answered in less than its 10 s

logger = structlog.get_logger("receiver")
P = ParamSpec("P")
T = TypeVar("T")


def _in_thread(method: Callable[Concatenate[Spool, P], T]) -> Callable[Concatenate[Spool, P], Awaitable[T]]:
    """Run a method in the spool's thread. SpoolError is raised if the disk fails, or does not answer in time."""

    @wraps(method)
    async def run(spool: Spool, /, *args: P.args, **kwargs: P.kwargs) -> T:
        def act() -> T:
            try:
                return method(spool, *args, **kwargs)
            except OSError as error:
                raise SpoolError(error.strerror or str(error)) from error
            finally:
                spool.count = sum(segment.count for segment in spool._segments)
                spool.used_bytes = sum(segment.size_bytes for segment in spool._segments) if spool.count else 0

        try:
            async with asyncio.timeout(DISK_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(spool._thread, act)
        except TimeoutError:
            raise SpoolError(f"the disk did not answer within {DISK_SECONDS:g} s") from None

    return run


class Spool:
    """The spool of a folder. An async context manager: entering it raises SpoolError if nothing can be kept there.

    Any number of processes may use the same folder. What a process has left over is adopted by one of the others, or by
    the next.

    Args:
        folder: where the segments are; made if it does not exist.
        max_bytes: the size limit (KONVOX_SPOOL_MAX_BYTES), for all processes of the folder together. They do not look
            in step, so each of them may pass it by a batch.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.count = 0  # of the events that this process has spooled or adopted
        self.used_bytes = 0  # the room that they take
        self._folder = folder
        self._max_bytes = max_bytes
        self._segments: list[Segment] = []  # of all keys that are ours, in order for each
        self._locks: dict[str, int] = {}
        self._key = ""  # of the segments that this process writes; empty before the first
        self._active: Segment | None = None  # the one that takes new events
        self._next_number = 1
        self._ids: set[str] = set()  # of the events in our own segments, about 130 bytes each
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    async def __aenter__(self) -> Self:
        try:
            await self.append([])
            for path in self._folder.glob("*.spool"):
                logger.error("spool.outdated", file=path.name, hint="only version 0.1 can drain it: see the CHANGELOG")
        except BaseException as error:
            await self.__aexit__()
            if isinstance(error, SpoolError):
                raise SpoolFolderError(self._folder, error.reason) from None
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._close()
        except SpoolError as error:
            logger.warning("spool.not_closed", reason=error.reason)
        self._thread.shutdown(wait=False, cancel_futures=True)

    @_in_thread
    def append(self, jobs: Sequence[Job]) -> list[bool]:
        """Add events, all or none, and return once they are on stable storage.

        Returns True for each that was added, False for one that this process has spooled already. A replay always
        counts as new. Raises SpoolFullError if there is no room. Without events, it finds out whether it would work.
        """
        verdicts: list[bool] = []
        ids: set[str] = set()
        for job in jobs:
            verdicts.append(job.replayed or not (job.record.id in ids or job.record.id in self._ids))
            ids |= set() if job.replayed else {job.record.id}
        new = [job.to_bytes() for job, is_new in zip(jobs, verdicts, strict=True) if is_new]
        if new or not jobs:
            self._write(new)
        self._ids |= ids
        return verdicts

    @_in_thread
    def oldest(self, most_events: int) -> SpoolBatch | None:
        """The oldest events; None if there are none. A batch is empty where none of it could be read."""
        waiting = [segment for segment in self._segments if segment.count]
        if not waiting:
            return None
        segment = min(waiting, key=lambda segment: segment.path)
        if segment is self._active:
            self._seal(segment)
        batch = segment.oldest(most_events=most_events, most_bytes=BATCH_BYTES)
        if segment.is_damaged:
            self._ids.clear()  # what is lost must not be called a duplicate when it is sent again
        return batch

    @_in_thread
    def remove(self, batch: SpoolBatch) -> None:
        """Take out events that are safe elsewhere."""
        batch.segment.remove(batch.up_to)
        if batch.segment.key == self._key:
            self._ids.difference_update(job.record.id for job in batch.jobs)
        self._drop_drained(batch.segment.key)

    @_in_thread
    def adopt(self) -> None:
        """Adopt what other processes have left over."""
        for key in segments_by_key(self._folder):
            if key in self._locks or (lock := take_lock(self._folder, key)) is None:
                continue  # its process lives
            try:
                segments = [Segment(*place) for place in segments_by_key(self._folder).get(key, [])]
                for last in segments[-1:]:
                    last.load()  # how many events the others hold, their names say
            except OSError as error:
                os.close(lock)
                logger.warning("spool.not_adopted", file=key, reason=error.strerror)
                continue
            self._locks[key] = lock
            self._segments += segments
            if events := sum(segment.count for segment in segments):
                logger.info("spool.adopted", file=key, events=events)
            self._drop_drained(key)

    def _write(self, payloads: Sequence[bytes]) -> None:
        active = self._writable()
        # Without an event: a frame with a number that is drained already.
        numbered = enumerate(payloads, self._next_number) if payloads else [(0, b"")]
        frames = b"".join(frame(number, payload) for number, payload in numbered)
        if used_bytes(self._folder) + len(frames) > self._max_bytes:
            raise SpoolFullError("the spool has reached KONVOX_SPOOL_MAX_BYTES")
        try:
            active.append(frames, events=len(payloads))
        except OSError:
            self._seal(active)
            raise
        self._next_number += len(payloads)
        if active.size_bytes >= SEGMENT_BYTES:
            self._seal(active)
            active.close()

    def _writable(self) -> Segment:
        if self._active is not None and not self._active.path.exists():
            logger.error("spool.removed", folder=str(self._folder), events=self.count)
            self._key, self._active = "", None  # what is in the open file can still be drained
        if self._active is None:
            make_folder(self._folder)
            while not self._key:
                key = f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}-{secrets.token_hex(4)}"
                lock = take_lock(self._folder, key)
                if lock is not None:  # another process may look for what is left over at this moment
                    self._locks[key], self._key, self._next_number = lock, key, 1
                    self._ids.clear()
            self._active = Segment.create(self._folder, self._key, self._next_number)
            self._segments.append(self._active)
        return self._active

    def _seal(self, active: Segment) -> None:
        """Let no more events into the active segment."""
        self._active, active.before = None, self._next_number
        if not active.count:  # the next one needs its name
            self._segments.remove(active)
            active.retire()

    def _drop_drained(self, key: str) -> None:
        """Remove the segments of a key up to the first in which something waits, and in the end its lock."""
        for segment in [segment for segment in self._segments if segment.key == key]:
            if segment.count:
                return
            self._segments.remove(segment)
            segment.retire()
        if key == self._key:
            self._key, self._active = "", None
        with suppress(OSError):
            (self._folder / f"{key}.lock").unlink()  # while it is locked: see `take_lock`
        os.close(self._locks.pop(key))

    @_in_thread
    def _close(self) -> None:
        if self._active is not None and self._active.count:
            with suppress(OSError):  # the name of an empty successor shows if the end of the last segment is lost
                self._seal(self._active)
                self._writable()
        for key in list(self._locks):
            self._drop_drained(key)
        for segment in self._segments:
            segment.close()
        for lock in self._locks.values():
            os.close(lock)
