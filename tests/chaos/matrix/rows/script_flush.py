"""Row 29: SCRIPT FLUSH, again and again while events come in and are handled."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import Stage


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Throw all scripts away at random moments: nobody is refused, and nothing runs twice."""
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver(stage.short_events(chance, 24)))
        group.create_task(stage.attack(chance))
        for _ in range(5):
            await asyncio.sleep(chance.uniform(0, 0.03))
            await stage.server.script_flush()
    return Allowed()


ROW = Row(29, "SCRIPT FLUSH under load", strike)
