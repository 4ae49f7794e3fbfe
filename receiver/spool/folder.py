"""The spools of a folder, as the intake uses them: events are added to this process's own, and drained from all.

Everything that touches the disk runs in one thread of its own, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import structlog

from broker.records import Job
from receiver.errors import SpoolDamagedError, SpoolError, SpoolFullError
from receiver.spool.files import SpoolFiles, bytes_of_others, make_folder, spool_paths
from receiver.spool.reader import faults_as_errors
from receiver.spool.salvage import Salvage
from receiver.spool.source import Portion, Source
from receiver.spool.spool import Spool

BATCH_BYTES = 4 * 1024 * 1024
"""The most text of one batch to drain, whatever the number of events: bounds memory, and how long Redis takes."""

logger = structlog.get_logger("receiver")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpoolBatch:
    """Events to drain: `SpoolFolder.remove` takes them out once they are safe elsewhere."""

    source: Source
    portion: Portion

    @property
    def jobs(self) -> Sequence[Job]:
        """The events."""
        return self.portion.jobs


class SpoolFolder:
    """The spools of a folder. An async context manager: entering it raises SpoolError if nothing can be kept there.

    Any number of processes may use the same folder: each has a spool of its own, and whatever a process has left over
    is taken up by one of the others, or by the next.

    Args:
        folder: where the spools are; made if it does not exist.
        max_bytes: the room for all spools of the folder together. As processes look at each other's files now and
            then, and not in step, several of them may pass it by a batch each.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._own: Spool | None = None
        self._sources: list[Source] = []
        self._count = 0
        self._used_bytes = 0
        self._unreadable: set[str] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._in_thread(self._close)
        finally:
            self._thread.shutdown()

    @property
    def count(self) -> int:
        """How many events wait in this process's spool and in those that it has taken up."""
        return self._count

    @property
    def used_bytes(self) -> int:
        """How much room they take."""
        return self._used_bytes

    async def append(self, jobs: Sequence[Job]) -> list[bool]:
        """Add events in one transaction, and return once they are on stable storage.

        Returns:
            True for each that was added, False for one that is in this process's spool already. A replay always counts
            as new.

        Raises:
            SpoolFullError: there is no room for them; none was added.
            SpoolError: the disk does not take them; none was added.
        """
        return await self._in_thread(self._append, jobs)

    async def check_writable(self) -> None:
        """Find out whether `append` would work.

        Raises:
            SpoolError: it would not.
        """
        await self._in_thread(self._check_writable)

    async def oldest(self, most_events: int) -> SpoolBatch | None:
        """The oldest events, from one spool; None if there are none.

        Raises:
            SpoolError: they cannot be read.
        """
        return await self._in_thread(self._oldest, most_events)

    async def remove(self, batch: SpoolBatch) -> None:
        """Take out events that are safe elsewhere. A spool that becomes empty is removed."""
        await self._in_thread(self._remove, batch)

    async def take_up(self) -> None:
        """Take up the spools that other processes have left over."""
        await self._in_thread(self._take_up)

    async def _in_thread(self, action: Callable[..., T], *arguments: object) -> T:
        def act() -> T:
            try:
                return action(*arguments)
            finally:
                self._count = sum(source.count for source in self._sources)
                self._used_bytes = sum(source.used_bytes for source in self._sources if source.count)

        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def _open(self) -> None:
        try:
            self._own_spool().check_writable()
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        for source in list(self._sources):
            if source.count == 0:
                self._finish(source)
            else:
                source.close()
        self._sources, self._own = [], None

    def _own_spool(self) -> Spool:
        if self._own is not None and not self._own.files.path.exists():
            # Somebody has removed the folder: what is in the file can still be drained, as long as we have it open.
            logger.error("spool.removed", file=self._own.name, events=self._own.count)
            self._own = None
        if self._own is None:
            with faults_as_errors():
                make_folder(self._folder)
            self._own = Spool.create(self._folder)
            self._add(self._own)
        return self._own

    def _append(self, jobs: Sequence[Job]) -> list[bool]:
        try:
            return self._append_to_own(jobs)
        except SpoolDamagedError as damage:
            if self._own is not None:
                self._salvage(self._own, damage)
            return self._append_to_own(jobs)

    def _append_to_own(self, jobs: Sequence[Job]) -> list[bool]:
        own = self._own_spool()
        return own.append(jobs, most_bytes=self._room(own))

    def _room(self, own: Spool) -> int:
        with faults_as_errors():
            return self._max_bytes - bytes_of_others(self._folder, own.files.path)

    def _check_writable(self) -> None:
        own = self._own_spool()
        if own.used_bytes >= self._room(own):
            raise SpoolFullError("the spools of the folder have reached KONVOX_SPOOL_MAX_BYTES")
        own.check_writable()

    def _oldest(self, most_events: int) -> SpoolBatch | None:
        while True:
            source = next((source for source in self._sources if source.count), None)
            if source is None:
                return None
            try:
                portion = source.oldest(most_events=most_events, most_bytes=BATCH_BYTES)
            except SpoolDamagedError as damage:
                self._salvage(source, damage)
                continue
            if portion.jobs:
                return SpoolBatch(source, portion)
            self._remove(SpoolBatch(source, portion))  # nothing of it could be read

    def _remove(self, batch: SpoolBatch) -> None:
        source = batch.source
        try:
            source.remove(batch.portion)
        except SpoolDamagedError as damage:
            source = self._salvage(source, damage)
        except SpoolError as error:
            # A full disk, say: as long as we live we know how far we are, and in the end the whole file is removed.
            logger.warning("spool.not_trimmed", file=source.name, reason=error.reason)
        if source.count == 0 and source in self._sources:
            self._finish(source)

    def _finish(self, source: Source) -> None:
        self._drop(source)
        try:
            source.finish()
        except SpoolError as error:
            # It is found again, and drained again: Redis knows what it has seen.
            logger.warning("spool.not_removed", file=source.name, reason=error.reason)

    def _take_up(self) -> None:
        known = {source.name for source in self._sources}
        with faults_as_errors():
            paths = [path for path in spool_paths(self._folder) if path.name not in known]
        for path in paths:
            try:
                self._take(path)
            except SpoolError as error:
                if path.name not in self._unreadable:
                    self._unreadable.add(path.name)
                    logger.warning("spool.unreadable", file=path.name, reason=error.reason)

    def _take(self, path: Path) -> None:
        with faults_as_errors():
            files = SpoolFiles.take(path)
        if files is None:
            return  # its process lives
        try:
            source = _reopened(files)
        except BaseException:
            files.release()
            raise
        self._add(source)
        if source.count:
            logger.info("spool.taken_up", file=source.name, events=source.count)
        else:
            self._finish(source)

    def _salvage(self, source: Source, damage: SpoolDamagedError) -> Source:
        """Put what is left of a damaged spool in its place."""
        if not isinstance(source, Spool):
            raise damage  # never: a salvage leaves out what it cannot read
        self._drop(source)
        source.disconnect()
        try:
            salvage = _salvaged(source.files, damage, drained_to=source.drained_to)
        except BaseException:
            source.files.release()  # tried again when left-over spools are looked for
            raise
        self._add(salvage)
        if salvage.count == 0:
            self._finish(salvage)
        return salvage

    def _add(self, source: Source) -> None:
        self._sources.append(source)
        self._sources.sort(key=lambda source: source.name)

    def _drop(self, source: Source) -> None:
        self._sources.remove(source)
        if source is self._own:
            self._own = None


def _reopened(files: SpoolFiles) -> Source:
    try:
        return Spool.reopen(files)
    except SpoolDamagedError as damage:
        return _salvaged(files, damage)


def _salvaged(files: SpoolFiles, damage: SpoolDamagedError, *, drained_to: int = 0) -> Salvage:
    salvage = Salvage(files, drained_to=drained_to)
    logger.error(
        "spool.damaged", file=salvage.name, reason=damage.reason, intact=salvage.count, lost_at_least=salvage.lost
    )
    return salvage
