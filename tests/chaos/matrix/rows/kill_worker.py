"""Row 2: kill -9 of a worker before, during and after effects, and before completions."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import CONCURRENCY, Stage


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Kill one of two workers at a random moment."""
    await stage.workers.complete()
    victim = chance.choice(stage.workers.members)
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver(stage.short_events(chance, 24)))
        group.create_task(stage.attack(chance))
        await asyncio.sleep(chance.uniform(0.005, 0.12))
        await stage.workers.kill(victim)
        in_hand = await stage.in_hand()
    return Allowed(duplicates=min(CONCURRENCY, in_hand))


ROW = Row(2, "kill -9 of a worker, before, during and after the effect", strike)
