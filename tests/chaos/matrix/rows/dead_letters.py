"""Row 3: kill -9 while events move to the dead letters, and while an operator sends them back, or replays them."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Mapping, Sequence

from broker import dead_letters
from broker.admission import BATCH_EVENTS
from broker.ledger import read_ledger
from broker.records import Record
from tests.chaos.matrix.client import Event
from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import CONCURRENCY, BrokenPromiseError, Stage
from tests.support.processes import OurProcess
from tests.support.store import KEYS

_NAME = "chaos-retry"
"""What the command to kill calls itself in Redis."""

_REPLAYS = 40
"""How often each event is replayed, so that it takes more than one batch."""


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Kill a worker whose handlers fail, then `dead retry`, then `replay`: each event is in one place, every time.

    Raises:
        BrokenPromiseError: it is in two, or in none; or a replay that was accepted was not run.
    """
    await stage.workers.complete()
    # What came before is settled and was audited; to look up all of its replays again would take ever longer.
    await stage.server.xtrim(KEYS.log, maxlen=0, approximate=False)
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
    await _kill(stage, chance, "dead", "retry", "--all", within_seconds=0.008)
    await stage.settled()
    _in_one_place(stage, await stage.dead(), retried=1)
    await dead_letters.retry(stage.server, [letter async for letter in dead_letters.list_dead_letters(stage.server)])
    await stage.settled()
    _in_one_place(stage, await stage.dead(), retried=1)
    replays = await _replay_and_kill(stage, chance, events)
    await stage.settled()
    runs = stage.runs()
    # Once in vain, once well, and once for each replay.
    meant = {event.id: 2 + replays[event.id] for event in events}
    if lost := [event_id for event_id in meant if runs[event_id] < meant[event_id]]:
        raise BrokenPromiseError(f"replayed, and not run again: {lost}")
    return Allowed(duplicates=min(CONCURRENCY, in_hand), runs=meant)


def _in_one_place(stage: Stage, dead: list[str], *, retried: int) -> None:
    """Each is a dead letter, just once; or it is none, and was run again."""
    if len(dead) != len(set(dead)):
        raise BrokenPromiseError("an event is a dead letter twice")
    runs = stage.runs()
    stray = [event_id for event_id in stage.sent if event_id not in dead and runs[event_id] < 1 + retried]
    if stray or (not retried and set(dead) != set(stage.sent)):
        raise BrokenPromiseError(f"neither dead nor run again: {stray}")


async def _replay_and_kill(stage: Stage, chance: random.Random, events: Sequence[Event]) -> Mapping[str, int]:
    """Kill `replay --to queue`; returns how often each event was replayed: that often it is to run once more.

    Raises:
        BrokenPromiseError: a batch was taken in part, or the command says something else than what is there.
    """
    lines = [Record.capture(event.body, received_at_ms=0).to_line() for event in events] * _REPLAYS
    (stage.folder / "events.jsonl").write_bytes(b"\n".join(lines))
    accepted_before = (await read_ledger(stage.server)).accepted
    ended = await _kill(stage, chance, "replay", "events.jsonl", "--to", "queue", within_seconds=0.03)
    accepted = (await read_ledger(stage.server)).accepted - accepted_before
    replays = {event.id: int(await stage.server.scard(KEYS.replays_key(event.id))) for event in events}
    whole_batches = (len(lines),) if ended else (0, BATCH_EVENTS, len(lines))
    if accepted not in whole_batches or sum(replays.values()) != accepted:
        raise BrokenPromiseError(f"{accepted} of {len(lines)} replays were accepted, {sum(replays.values())} are known")
    return replays


async def _kill(stage: Stage, chance: random.Random, *arguments: str, within_seconds: float) -> bool:
    """Kill a command of ours some ms after it has connected to Redis. Returns whether it came to its end before."""

    async def connected() -> bool:
        return any(client["name"] == _NAME for client in await stage.server.client_list())

    async def connected_or_ended() -> bool:
        return command.process.returncode is not None or await connected()

    async def all_is_read() -> bool:
        return not await connected()

    env = {"KONVOX_REDIS_URL": f"{stage.valkey.url()}&client_name={_NAME}"}
    async with await OurProcess.start(*arguments, env=env, cwd=stage.folder) as command:
        await stage.until(connected_or_ended, f"`{arguments[0]}` has connected")
        await asyncio.sleep(chance.uniform(0, within_seconds))
        if command.process.returncode is None:
            await command.kill()
        if command.process.returncode not in {0, -signal.SIGKILL}:
            raise BrokenPromiseError(f"`{arguments[0]}` failed: {command.stderr}")
        await stage.until(all_is_read, "Redis has taken what the command had sent")
        return command.process.returncode == 0


ROW = Row(3, "kill -9 during the move to dead letters, during `dead retry` and during `replay --to queue`", strike)
