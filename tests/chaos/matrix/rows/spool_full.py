"""Row 9: Redis is away, and the spool is full as well: by its own limit, or because the disk is."""

from __future__ import annotations

import random
from contextlib import nullcontext

import aiohttp

from tests.chaos.matrix.client import Answer
from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.rows.kill_redis import killed
from tests.chaos.matrix.stage import IN_FLIGHT, BrokenPromiseError, Stage
from tests.support.processes import OurProcess
from tests.support.refusals import limited_files

_EVENTS = 40
"""So many, with their padding, are more than the spool takes."""


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """What fits is answered with 200 and kept; what does not is answered with 503 and `Retry-After`, and comes again.

    Raises:
        BrokenPromiseError: it is answered otherwise, or a receiver that refuses calls itself ready.
    """
    receiver = chance.choice(stage.receivers.members)
    (origin, *_) = stage.receivers.origins(receiver)
    events = stage.events(_EVENTS, padding="x" * 4096)
    on_disk = chance.random() < 0.5
    room = limited_files(receiver.process.pid, chance.randrange(70_000, 100_000)) if on_disk else nullcontext()
    async with killed(stage, chance):
        with room:
            answers = [await stage.client.send(event, origin) for event in events]
            await stage.attack(chance)
            if (status := await _readiness(receiver)) != 503:
                raise BrokenPromiseError(f"neither Redis nor the spool takes anything, and /readyz answers {status}")
    refused = _refused(answers)
    await stage.deliver([event for event in events if event.id in refused])

    async def ready_again() -> bool:
        return await _readiness(receiver) == 200

    await stage.until(ready_again, "the receiver is ready again")
    return Allowed(duplicates=IN_FLIGHT, refusals=True)


def _refused(answers: list[Answer]) -> set[str]:
    refused = [answer for answer in answers if answer.status != 200]
    if not refused or len(refused) == len(answers):
        raise BrokenPromiseError(f"{len(refused)} of {len(answers)} refused: the spool was never full, or always")
    if any(answer.status != 503 or not answer.retry_after for answer in refused):
        raise BrokenPromiseError(f"refused with {sorted({answer.status for answer in refused})}, or no Retry-After")
    return {answer.id for answer in refused}


async def _readiness(receiver: OurProcess) -> int:
    origin = await receiver.listening("receiver.admin")
    async with aiohttp.ClientSession() as session, session.get(f"{origin}/readyz") as answer:
        return answer.status


ROW = Row(9, "the spool is full, too", strike, settings={"KONVOX_SPOOL_MAX_BYTES": "100000"})
