"""What lies in the spool, for `konvox-hooks audit`. Nobody is held up, no lock is taken, and nothing is changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from broker.errors import MalformedRecordError
from broker.records import Job
from receiver.errors import SpoolError
from receiver.spool.folder import DAMAGED_SUFFIX, segments_by_key
from receiver.spool.frames import scan


@dataclass(frozen=True, slots=True)
class SpooledEvents:
    """What waits in the spool, that of live processes included.

    Attributes:
        ids: the deliveries, process by process, the oldest first. Some may be in Redis as well: their answer was lost.
        damaged: the files that a person must look at: damaged ones, and spools of version 0.1.
    """

    ids: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.ids)


def spooled_events(folder: Path) -> SpooledEvents:
    """Count what waits in a folder; nothing if there is no such folder. Raises SpoolError if a file cannot be read."""
    damaged = [path.name for suffix in (DAMAGED_SUFFIX, ".spool") for path in folder.glob(f"*{suffix}")]
    ids: list[str] = []
    try:
        for key in segments_by_key(folder) if folder.exists() else ():
            read_to = 0
            # The folder is looked at for each segment: they may be renamed and removed meanwhile.
            while place := next((place for place in segments_by_key(folder).get(key, []) if place[1] > read_to), None):
                path, first, before = place
                with suppress(FileNotFoundError):
                    found = scan(path.read_bytes(), first=first, before=before)
                    for _, payload in found.waiting:
                        with suppress(MalformedRecordError):  # of a version that we do not know
                            ids.append(Job.from_bytes(payload).delivery)
                    damaged += [path.name] if found.is_damaged else []
                    read_to = max([first, *(number for number, _ in found.waiting)]) if before is None else before - 1
    except OSError as error:
        raise SpoolError(error.strerror or str(error)) from error
    return SpooledEvents(tuple(ids), tuple(sorted(damaged)))
