"""Spools to try things with: filled, copied as a crash leaves them, and emptied again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from broker.records import Job
from receiver.spool import Spool

ROOM = 1 << 30
"""More room than any test takes."""


async def crashed_spool(folder: Path, *batches: Sequence[Job]) -> Path:
    """A folder with a spool as a crash leaves it: with a lock that nobody holds."""
    async with Spool(folder.with_name(f"{folder.name}.alive"), max_bytes=ROOM) as spool:
        for batch in batches:
            await spool.append(batch)
        image_of(folder.with_name(f"{folder.name}.alive"), folder)
    return folder


async def closed_spool(folder: Path, *batches: Sequence[Job]) -> Path:
    """A folder with a spool as a process leaves it that stopped in order: with an empty last segment."""
    async with Spool(folder, max_bytes=ROOM) as spool:
        for batch in batches:
            await spool.append(batch)
    return folder


def image_of(folder: Path, copy: Path) -> None:
    """Copy what is in the files at this moment."""
    shutil.copytree(folder, copy)


async def drain(spool: Spool, *, at_once: int = 50) -> list[str]:
    """Take everything out; returns the ids of the deliveries in their order."""
    ids: list[str] = []
    while (batch := await spool.oldest(at_once)) is not None:
        ids += [job.delivery for job in batch.jobs]
        await spool.remove(batch)
    return ids


async def taken_up(folder: Path) -> list[str]:
    """The ids that a new process gets out of a folder."""
    async with Spool(folder, max_bytes=ROOM) as spool:
        await spool.adopt()
        return await drain(spool)


def files_in(folder: Path, pattern: str = "*") -> list[str]:
    """The names of the files in a folder."""
    return sorted(path.name for path in folder.glob(pattern))
