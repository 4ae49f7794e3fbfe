"""What lies in the spools of a folder, for `konvox-hooks audit`. Nobody is held up, and nothing is changed.

(SQLite may leave an empty log beside a spool that had none.)
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from broker.errors import MalformedRecordError
from broker.records import Job
from receiver.errors import SpoolDamagedError, SpoolError
from receiver.spool.files import DAMAGED_SUFFIX, SUFFIX, log_of
from receiver.spool.reader import Reader, check_log, faults_as_errors
from receiver.spool.salvage import search


@dataclass(frozen=True, slots=True)
class SpooledEvents:
    """What waits in the spools of a folder, those of live processes included.

    Attributes:
        ids: the deliveries, spool by spool, the oldest first. One that was sent to Redis, and whose answer was lost, is
            in Redis as well.
        damaged: the files that are damaged, or were, and are kept for a person to look at.
    """

    ids: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.ids)


def spooled_events(folder: Path) -> SpooledEvents:
    """Count what waits in the spools of a folder. None if there is no such folder.

    Raises:
        SpoolError: a spool cannot be read.
    """
    ids: list[str] = []
    damaged = [path.name for path in folder.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}")]
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            payloads = _read_twice(path)
        except SpoolDamagedError:
            with faults_as_errors():
                payloads = [payload for _, payload in search((log_of(path), path)).payloads()]
            damaged.append(path.name)
        ids += _deliveries(payloads)
    return SpooledEvents(tuple(ids), tuple(sorted(damaged)))


def _read_twice(path: Path) -> list[bytes]:
    """What waits in a spool; nothing if it is gone. Its log may be written just while it is checked: so look again."""
    for _ in range(2):
        try:
            return _read(path)
        except SpoolDamagedError:
            continue
        except SpoolError:
            if path.exists():
                raise
    return _read(path) if path.exists() else []


def _read(path: Path) -> list[bytes]:
    check_log(path)
    address = f"{path.resolve().as_uri()}?mode=ro"
    with faults_as_errors(opening=True), closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("BEGIN")  # one view from the check to the last event
        reader = Reader(connection, path.name)
        if not reader.check():
            return []
        with reader.payloads() as payloads:
            return [payload for _, payload in payloads]


def _deliveries(payloads: list[bytes]) -> list[str]:
    deliveries = []
    for payload in payloads:
        try:
            deliveries.append(Job.from_bytes(payload).delivery)
        except MalformedRecordError:
            continue
    return deliveries
