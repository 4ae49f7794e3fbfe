"""kill -9 while events move between queue and dead letters: each is in exactly one place (replays: row 3)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from broker import ids
from broker.audit import audit
from broker.dead_letters import list_dead_letters
from konvox.events import Event
from tests.support.events import admitted, queued_ids
from tests.support.processes import OurProcess, worker_environment
from tests.support.store import KEYS, RedisClient
from tests.support.workers import handler, run_burst, until

EVENTS = 1_200

Env: TypeAlias = dict[str, str]

HANDLER = """
from handlers import on


@on("*", attempts=1)
async def fail(event, ctx):
    raise RuntimeError
"""


async def _one_place_each(server: RedisClient, job_ids: set[str]) -> None:
    """Check that each event is queued or a dead letter, but not both, and that the ledger says the same."""
    queued = {ids.delivery_of(job_id) for job_id in await queued_ids(server)}
    dead = [ids.delivery_of(letter.id) async for letter in list_dead_letters(server)]
    assert len(dead) == len(set(dead))
    assert queued.isdisjoint(dead)
    assert queued | set(dead) == job_ids
    ledger = await audit(server)
    assert (ledger.dead, ledger.pending, ledger.balanced) == (len(dead), len(queued), True)


async def _clients(server: RedisClient) -> set[str]:
    return {client["id"] for client in await server.client_list()}


async def _killed_once(
    server: RedisClient, condition: Callable[[], Awaitable[bool]], *arguments: str, env: Env, folder: Path
) -> None:
    """Start a command, kill it at a random moment, and wait until Redis has carried out all that it sent."""
    before = await _clients(server)

    async def is_gone() -> bool:
        return (await _clients(server)).isdisjoint(its_own)

    async with await OurProcess.start(*arguments, env=env, cwd=folder) as process:
        await until(condition)
        await asyncio.sleep(random.uniform(0, 0.1))  # the moment is what is random
        its_own = await _clients(server) - before
        await process.kill()
    await until(is_gone)


async def test_a_kill_while_events_die_or_are_brought_back(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """A kill of the worker as it makes dead letters, or of `dead retry`, leaves each event in one place."""
    (tmp_path / "mine.py").write_text(HANDLER)
    # What is in hand at the kill is suspected, and run one by one.
    env = worker_environment(redis_url, KONVOX_CONCURRENCY="10")
    job_ids = {job.id for job in await admitted(server, EVENTS)}

    async def some_are_dead() -> bool:
        return bool(await server.hlen(KEYS.dead))

    async def some_are_back() -> bool:
        return bool(await server.zcard(KEYS.queue))

    await _killed_once(server, some_are_dead, "worker", env=env, folder=tmp_path)
    await _one_place_each(server, job_ids)
    async with await OurProcess.start("worker", "--burst", env=env, cwd=tmp_path) as worker:
        assert await worker.ended() == 0, worker.stderr
    await _one_place_each(server, job_ids)
    await _killed_once(server, some_are_back, "dead", "retry", "--all", env=env, folder=tmp_path)
    await _one_place_each(server, job_ids)
    async with await OurProcess.start("dead", "retry", "--all", env=env, cwd=tmp_path) as retry:
        assert await retry.ended() in {0, 1}, retry.stderr  # 1: the first one had brought them all back

    async def fixed(event: Event, ctx: Any) -> None:
        pass

    await run_burst(redis_url, handler(fixed, name="mine.fail"))
    ledger = await audit(server)
    assert (ledger.delivered, ledger.dead_letters, ledger.balanced) == (EVENTS, 0, True)
