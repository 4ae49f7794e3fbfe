"""Row 3: kill -9 while events move to the dead letters, and while an operator sends them back."""

from __future__ import annotations

import asyncio
import random

from broker import deadletters
from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import CONCURRENCY, BrokenPromiseError, Stage
from tests.support.processes import OurProcess

_NAME = "chaos-retry"
"""What the command to kill calls itself in Redis."""


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Kill a worker whose handlers fail, and then `dead retry`: each event is in exactly one place, every time.

    Raises:
        BrokenPromiseError: it is in two, or in none.
    """
    await stage.workers.complete()
    (stage.folder / "healed").unlink(missing_ok=True)
    events = [event for _ in range(16) for event in stage.events(1, before_seconds=chance.uniform(0, 0.02), fails=True)]
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver(events))
        group.create_task(stage.attack(chance))
        await asyncio.sleep(chance.uniform(0.005, 0.1))
        await stage.workers.kill(chance.choice(stage.workers.members))
        in_hand = await stage.in_hand()
    await stage.settled()
    _in_one_place(stage, await stage.dead(), retried=0)
    (stage.folder / "healed").touch()
    await _kill_retry(stage, chance)
    await stage.settled()
    _in_one_place(stage, await stage.dead(), retried=1)
    await deadletters.retry(stage.server, [letter async for letter in deadletters.dead_letters(stage.server)])
    await stage.settled()
    _in_one_place(stage, await stage.dead(), retried=1)
    # Once in vain and once well.
    return Allowed(duplicates=min(CONCURRENCY, in_hand), runs={event.id: 2 for event in events})


def _in_one_place(stage: Stage, dead: list[str], *, retried: int) -> None:
    """Each is a dead letter, just once; or it is none, and was run again."""
    if len(dead) != len(set(dead)):
        raise BrokenPromiseError("an event is a dead letter twice")
    runs = stage.runs()
    stray = [event_id for event_id in stage.sent if event_id not in dead and runs[event_id] < 1 + retried]
    if stray or (not retried and set(dead) != set(stage.sent)):
        raise BrokenPromiseError(f"neither dead nor run again: {stray}")


async def _kill_retry(stage: Stage, chance: random.Random) -> None:
    """Kill `dead retry --all` some ms after it has connected to Redis."""

    async def connected_or_ended() -> bool:
        names = [client["name"] for client in await stage.server.client_list()]
        return _NAME in names or retry.process.returncode is not None

    env = {"KONVOX_REDIS_URL": f"{stage.valkey.url()}&client_name={_NAME}"}
    async with await OurProcess.start("dead", "retry", "--all", env=env, cwd=stage.folder) as retry:
        await stage.until(connected_or_ended, "`dead retry` has connected")
        await asyncio.sleep(chance.uniform(0, 0.008))
        if retry.process.returncode is None:
            await retry.kill()
        elif retry.process.returncode:
            raise BrokenPromiseError(f"`dead retry` failed: {retry.stderr}")


ROW = Row(3, "kill -9 during the move to dead letters, and during `dead retry`", strike)
