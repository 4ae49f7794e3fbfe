"""Row 15: the same body four times, at once, at two receivers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import BrokenPromiseError, Stage

_TIMES = 4


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Send each body four times: each request is answered with 200, and one of the four is accepted.

    Raises:
        BrokenPromiseError: not just one was.
    """
    origins = stage.receivers.origins()
    events = stage.short_events(chance, 8)
    async with asyncio.TaskGroup() as group:
        for event in events:
            for _ in range(_TIMES):
                group.create_task(stage.client.send(event, chance.choice(origins)))
        group.create_task(stage.attack(chance))
    accepted = Counter(answer.id for answer in stage.client.answers if answer.kept_as == "accepted")
    if accepted != {event.id: 1 for event in events}:
        raise BrokenPromiseError(f"not each was accepted just once: {accepted}")
    return Allowed()


ROW = Row(15, "the same body 4 times at once", strike)
