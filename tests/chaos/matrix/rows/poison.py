"""Row 13: an event that takes its worker along."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import IN_FLIGHT, BrokenPromiseError, Stage

_CRASHES = 3


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Send one that calls `os._exit` among others: it is a dead letter after three crashes, and they are handled.

    Raises:
        BrokenPromiseError: something else is a dead letter, or it is none.
    """
    known_dead = set(await stage.dead())
    (poison,) = stage.events(1, before_seconds=chance.uniform(0, 0.02), exits=True)
    others = stage.short_events(chance, 12)
    events = [*others, poison]
    chance.shuffle(events)
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver(events))
        group.create_task(stage.attack(chance))
    await stage.settled()
    if set(await stage.dead()) - known_dead != {poison.id}:
        raise BrokenPromiseError("not just the poison is a dead letter")
    if (crashes := stage.runs()[poison.id]) != _CRASHES:
        raise BrokenPromiseError(f"the poison was run {crashes} times")
    return Allowed(duplicates=_CRASHES * IN_FLIGHT // 2, runs={poison.id: _CRASHES})


ROW = Row(13, "an event that kills its worker (`os._exit`)", strike)
