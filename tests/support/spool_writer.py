"""A process that spools events and says which were acknowledged, until it is killed: `python -m … FOLDER FIRST`."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from receiver.spool import Spool
from tests.support.events import job_of
from tests.support.spooling import ROOM


async def write(folder: Path, first: int) -> None:
    """Spool batches of one to seven events, the first of which has that number."""
    async with Spool(folder, max_bytes=ROOM) as spool:
        number = first
        for size in itertools.cycle(range(1, 8)):
            jobs = [job_of(number + index) for index in range(size)]
            await spool.append(jobs)
            sys.stdout.write(" ".join(job.delivery for job in jobs) + "\n")
            sys.stdout.flush()
            number += size


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
