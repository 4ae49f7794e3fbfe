"""Row 8: a Redis that answers and takes no writes: no room to save, a full disk, replicas or master gone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.rows.outages import play
from tests.chaos.matrix.stage import BrokenPromiseError, Stage
from tests.support.processes import OurProcess
from tests.support.refusals import cannot_save, disk_is_full, lacks_its_master, lacks_replicas
from tests.support.workers import until

REFUSALS = (cannot_save, disk_is_full, lacks_replicas, lacks_its_master)

BACK_SECONDS = 5.0
"""How long after the fault every process may take to be back."""

_BEGIN, _END = ("spooling.started", "redis.lost"), ("drain.finished", "redis.restored")


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Deliver before, during and after it, and see that each process says once that it began, and once that it is over.

    Raises:
        BrokenPromiseError: one says it more often, or never, or its readiness tells otherwise.
    """
    before = _told(stage)

    async def all_over() -> bool:
        told = _told(stage) - before
        return sum(told[key] for key in told if key[1] in _BEGIN) == sum(told[key] for key in told if key[1] in _END)

    allowed = await play(stage, chance, lambda stage, chance: refuses(stage, chance, before))
    await stage.until(all_over, "every process says that it is over")
    if repeated := {key for key, times in (_told(stage) - before).items() if times > 1}:
        raise BrokenPromiseError(f"said more than once: {repeated}")
    return allowed


@asynccontextmanager
async def refuses(stage: Stage, chance: random.Random, told_before: Counter[tuple[int, str]]) -> AsyncIterator[None]:
    """Let Redis refuse writes, for a random reason, until every process notices; all must be green soon after."""
    refusal = chance.choice(REFUSALS)(stage.valkey)

    async def all_red() -> bool:
        told = _told(stage) - told_before
        workers = {member.process.pid for member in stage.workers.members}
        return workers <= {pid for pid, event in told if event == "redis.lost"} and await _all_answer(stage, 503)

    await asyncio.to_thread(refusal.__enter__)
    try:
        yield
        await stage.until(all_red, "every worker says that Redis is away, and every process is red")
    finally:
        await asyncio.to_thread(refusal.__exit__, None, None, None)
    try:
        async with asyncio.timeout(BACK_SECONDS):
            await until(lambda: _all_answer(stage, 200))
    except TimeoutError:
        raise BrokenPromiseError(f"not every process is back within {BACK_SECONDS:g} s") from None


def _members(stage: Stage) -> list[tuple[str, OurProcess]]:
    return [
        (role, member)
        for role, crew in (("receiver", stage.receivers), ("worker", stage.workers))
        for member in crew.members
    ]


def _told(stage: Stage) -> Counter[tuple[int, str]]:
    """How often each process has said that it began, and that it is over."""
    return Counter(
        (member.process.pid, line["event"])
        for _, member in _members(stage)
        for line in member.log
        if line["event"] in {*_BEGIN, *_END}
    )


async def _all_answer(stage: Stage, status: int) -> bool:
    async with aiohttp.ClientSession() as session:
        for role, member in _members(stage):
            async with session.get(f"{await member.listening(f'{role}.admin')}/readyz") as answer:
                if answer.status != status:
                    return False
    return True


ROW = Row(
    8,
    "Redis takes no writes: its disk is full or it cannot save (MISCONF), NOREPLICAS, MASTERDOWN",
    strike,
    redis={"appendfsync": "everysec"},  # with `always` a full disk would be its end, which is row 4
)
