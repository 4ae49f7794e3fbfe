"""One spool that is whole: a SQLite file to which events are added, and from which they are drained in order.

Used by the folder, in its thread. What `append` has returned for is on stable storage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from broker.records import Job
from receiver.errors import SpoolDamagedError, SpoolFullError
from receiver.spool.files import SpoolFiles, sync_folder
from receiver.spool.frames import PAGE_BYTES, frames_of, mark_of
from receiver.spool.reader import MARK_NUMBER, Reader, check_log, faults_as_errors
from receiver.spool.source import Portion, first_of, job_in

_SETTINGS = (
    f"PRAGMA page_size = {PAGE_BYTES}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: fsync alone does not reach the disk
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA cell_size_check = ON",
)
_TABLE = "CREATE TABLE frames (number INTEGER PRIMARY KEY, frame BLOB NOT NULL)"


class Spool:
    """A SQLite file of events. Made with `create` or `reopen`.

    It remembers the ids of what was added, about 130 bytes an event, to recognise what comes twice.

    Attributes:
        files: where it is, and its lock.
        count: how many events wait in it.
        used_bytes: how much room the file's contents take.
    """

    def __init__(self, files: SpoolFiles, connection: sqlite3.Connection) -> None:
        self.files = files
        self.count = 0
        self.used_bytes = 0
        self._connection = connection
        self._reader = Reader(connection, files.path.name)
        self._ids: set[str] = set()
        self._written_to = 0

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make a new spool in a folder.

        Raises:
            SpoolError: the folder cannot be written to.
        """
        with faults_as_errors(), ExitStack() as undo:
            files = SpoolFiles.create(folder)
            undo.callback(files.remove)
            connection = _connect(files.path)
            undo.callback(connection.close)
            connection.execute(_TABLE)
            sync_folder(folder)
            undo.pop_all()
        return cls(files, connection)

    @classmethod
    def reopen(cls, files: SpoolFiles) -> Self:
        """Open a spool that has been left over, to drain it; check all of it.

        Raises:
            SpoolDamagedError: it is not as it was written.
            SpoolError: it cannot be read.
        """
        with faults_as_errors(opening=True), ExitStack() as undo:
            check_log(files.path)
            connection = _connect(files.path)
            undo.callback(connection.close)
            spool = cls(files, connection)
            spool.count = spool._reader.check()
            spool._measure()
            undo.pop_all()
        return spool

    @property
    def name(self) -> str:
        """The file's name."""
        return self.files.path.name

    @property
    def drained_to(self) -> int:
        """The number up to which it is drained, whether the file knows it or not."""
        return self._reader.drained_to

    def append(self, jobs: Sequence[Job], *, most_bytes: int) -> list[bool]:
        """Add events, all of them or none: True for each that was added, False for one that is there already.

        Raises:
            SpoolFullError: the file would take more than `most_bytes`.
            SpoolError: it cannot be written; nothing was added.
        """
        verdicts: list[bool] = []
        new_ids: set[str] = set()
        frames: list[tuple[int, bytes]] = []
        for job in jobs:
            is_new = job.replayed or not (job.record.id in self._ids or job.record.id in new_ids)
            verdicts.append(is_new)
            if is_new:
                number = self._written_to + len(frames) + 1
                frames += enumerate(frames_of(job, first_number=number), start=number)
            if not job.replayed:
                new_ids.add(job.record.id)
        if frames:
            self._insert(frames, most_bytes=most_bytes)
        self._written_to += len(frames)
        self._ids |= new_ids
        self.count += sum(verdicts)
        return verdicts

    def check_writable(self) -> None:
        """Write something that does not matter.

        Raises:
            SpoolError: it cannot be written.
        """
        with faults_as_errors(), self._transaction():
            self._write_mark()

    def oldest(self, *, most_events: int, most_bytes: int) -> Portion:
        """The oldest events; see `Source`."""
        with self._reader.payloads() as payloads:
            portion = list(first_of(payloads, most_events=most_events, most_bytes=most_bytes))
        if not portion and self.count:
            raise SpoolDamagedError(f"{self.name} lacks {self.count} of its events")
        up_to = portion[-1][0] if portion else self.drained_to
        return Portion([job_in(payload, name=self.name) for _, payload in portion], up_to)

    def remove(self, portion: Portion) -> None:
        """Take out events that are safe elsewhere; see `Source`."""
        self._reader.drained_to = portion.up_to
        self.count -= len(portion.jobs)
        self._ids.difference_update(job.record.id for job in portion.jobs)
        with faults_as_errors(), self._transaction():
            self._connection.execute("DELETE FROM frames WHERE number > 0 AND number <= ?", (portion.up_to,))
            self._write_mark()
            self._measure()

    def finish(self) -> None:
        """Remove a spool that is drained; see `Source`."""
        self._connection.close()
        with faults_as_errors():
            self.files.remove()

    def close(self) -> None:
        """Close the file, and let somebody else have it."""
        self.disconnect()
        self.files.release()

    def disconnect(self) -> None:
        """Close the file, and keep its lock."""
        self._connection.close()

    def _insert(self, frames: Sequence[tuple[int, bytes]], *, most_bytes: int) -> None:
        if self.used_bytes + sum(len(frame) for _, frame in frames) > most_bytes:
            raise SpoolFullError("the spools of the folder have reached KONVOX_SPOOL_MAX_BYTES")
        with faults_as_errors(), self._transaction():
            # A commit that failed may have been written all the same: then its numbers are used once more.
            self._connection.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?)", frames)
            self._measure()

    def _write_mark(self) -> None:
        mark = (MARK_NUMBER, mark_of(self.drained_to))
        self._connection.execute("INSERT OR REPLACE INTO frames VALUES (?, ?)", mark)

    def _measure(self) -> None:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        self.used_bytes = (pages - free) * PAGE_BYTES

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection
