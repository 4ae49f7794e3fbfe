"""Row 1: kill -9 of a receiver before, during and after persisting, in Redis or in its spool."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import IN_FLIGHT, Stage

_WHILE_SPOOLING = 0.2
"""In how many of the iterations Redis is away when the receiver dies."""


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Kill the receiver that is asked first; what it did not answer is delivered to the other one."""
    await stage.receivers.complete()
    victim = chance.choice(stage.receivers.members)
    spooling = chance.random() < _WHILE_SPOOLING
    events = stage.short_events(chance, 24)
    if spooling:
        stage.valkey.kill()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.deliver(events, first=victim))
            group.create_task(stage.attack(chance))
            await asyncio.sleep(chance.uniform(0, 0.08))
            await stage.receivers.kill(victim)
    finally:
        if spooling:
            stage.valkey.start()
    return Allowed(duplicates=IN_FLIGHT if spooling else 0, refusals=True)


ROW = Row(1, "kill -9 of a receiver, before, while and after it persists", strike)
