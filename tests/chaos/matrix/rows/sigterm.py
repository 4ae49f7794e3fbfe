"""Row 26: SIGTERM to the worker during work, ten times in a row."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import CONCURRENCY, Stage

_TIMES = 10


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Stop the worker that runs the events ten times: each is released at its first attempt, and takes effect once."""
    events = stage.events(CONCURRENCY, waits=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver(events))
        group.create_task(stage.attack(chance))
    for times in range(_TIMES):
        await _all_run(stage, times + 1)
        await asyncio.sleep(chance.uniform(0, 0.02))
        await stage.workers.terminate(stage.workers.members[0])
    (stage.folder / "released").touch()
    return Allowed()


async def _all_run(stage: Stage, times: int) -> None:
    async def entered() -> bool:
        return len(stage.lines("entered")) >= CONCURRENCY * times

    await stage.until(entered, f"all events run for the {times}. time")


ROW = Row(26, "SIGTERM during work, ten times in a row", strike, workers=1, settings={"KONVOX_LEASE_SECONDS": "60"})
