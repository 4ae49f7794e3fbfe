"""Rows 11 and 12: handlers that take longer than the lease, and that block the event loop past it."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import LEASE_SECONDS, Stage


async def _run_long(stage: Stage, chance: random.Random) -> Allowed:
    seconds = chance.uniform(1.2, 2) * LEASE_SECONDS
    await _deliver_beside(stage, chance, after_seconds=seconds)
    return Allowed()


async def _block(stage: Stage, chance: random.Random) -> Allowed:
    seconds = chance.uniform(1.2, 2) * LEASE_SECONDS
    await _deliver_beside(stage, chance, blocks_seconds=seconds)
    return Allowed()


async def _deliver_beside(stage: Stage, chance: random.Random, **plan: float) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver([*stage.events(2, **plan), *stage.short_events(chance, 8)]))
        group.create_task(stage.attack(chance))


SLOW = Row(11, "handlers slower than the lease", _run_long)
BLOCKING = Row(12, "handlers that block the event loop past the lease", _block)
