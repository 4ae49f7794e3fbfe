"""Row 9: Redis is away, and the spool is full as well."""

from __future__ import annotations

import random

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.rows.kill_redis import killed
from tests.chaos.matrix.stage import IN_FLIGHT, BrokenPromiseError, Stage


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """What fits is answered with 200 and kept; what does not is answered with 503 and `Retry-After`, and comes again.

    Raises:
        BrokenPromiseError: it is answered otherwise.
    """
    events = stage.events(40, padding="x" * 4096)
    origins = stage.receivers.origins()
    async with killed(stage, chance):
        for event in events:
            await stage.client.send(event, chance.choice(origins))
        answers = list(stage.client.answers)
        await stage.attack(chance)
    refused = {answer.id for answer in answers if answer.status != 200}
    if not refused:
        raise BrokenPromiseError("the spool was never full")
    odd = {
        answer.status
        for answer in answers
        if answer.status != 200 and not (answer.status == 503 and answer.retry_after)
    }
    if odd:
        raise BrokenPromiseError(f"refused with {sorted(odd)} instead of 503 with Retry-After")
    await stage.deliver([event for event in events if event.id in refused])
    return Allowed(duplicates=IN_FLIGHT, refusals=True)


ROW = Row(9, "the spool is full, too", strike, settings={"KONVOX_SPOOL_MAX_BYTES": "100000"})
