"""Rows 5, 6 and 7: a Redis that is there and takes nothing. It is full, a replica, or hung."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import IN_FLIGHT, BrokenPromiseError, Stage

Fault: TypeAlias = Callable[[Stage, random.Random], AbstractAsyncContextManager[None]]
"""The fault lasts as long as the context."""

STOP_SECONDS = 10.0
"""How long a process may take to end while Redis hangs."""


async def play(stage: Stage, chance: random.Random, fault: Fault, *, longest_seconds: float = 0.5) -> Allowed:
    """Deliver before, during and after an outage. During it, every event must go to the spool and be answered 200.

    Raises:
        BrokenPromiseError: nothing was spooled.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.deliver(stage.short_events(chance, 12)))
        await asyncio.sleep(chance.uniform(0, 0.06))
        async with fault(stage, chance):
            group.create_task(stage.attack(chance))
            await stage.deliver(stage.short_events(chance, 12))
            if not stage.spooled():
                raise BrokenPromiseError("Redis was away, and yet nothing was spooled")
            await asyncio.sleep(chance.uniform(0, longest_seconds))
        await stage.deliver(stage.short_events(chance, 8))
    return Allowed(duplicates=IN_FLIGHT)


@asynccontextmanager
async def full(stage: Stage, _: random.Random) -> AsyncIterator[None]:
    """Set Redis to its maxmemory."""
    await stage.server.config_set("maxmemory", 1)
    try:
        yield
    finally:
        await stage.server.config_set("maxmemory", 0)


@asynccontextmanager
async def read_only(stage: Stage, _: random.Random) -> AsyncIterator[None]:
    """Make Redis a replica of a master that is gone, as connected clients see it in a failover."""
    await stage.server.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        await stage.server.replicaof("NO", "ONE")


@asynccontextmanager
async def hangs(stage: Stage, chance: random.Random) -> AsyncIterator[None]:
    """Let Redis take connections without an answer; meanwhile one of our processes is asked to stop."""
    valkey = stage.valkey.process
    assert valkey is not None
    valkey.send_signal(signal.SIGSTOP)
    stopping = asyncio.create_task(_stops_in_time(stage, chance))
    try:
        yield
        await stopping
    finally:
        valkey.send_signal(signal.SIGCONT)
        stopping.cancel()
        await asyncio.wait([stopping])


async def _stops_in_time(stage: Stage, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0, 2))
    crew = chance.choice((stage.receivers, stage.workers))
    started = time.monotonic()
    await crew.terminate(chance.choice(crew.members))
    if (took_seconds := time.monotonic() - started) > STOP_SECONDS:
        raise BrokenPromiseError(f"SIGTERM took {took_seconds:.1f} s")


async def _hang(stage: Stage, chance: random.Random) -> Allowed:
    await stage.receivers.complete()
    await stage.workers.complete()
    allowed = await play(stage, chance, hangs, longest_seconds=3)
    return Allowed(duplicates=allowed.duplicates, refusals=True)  # by the receiver that was told to stop


async def _fill(stage: Stage, chance: random.Random) -> Allowed:
    return await play(stage, chance, full)


async def _make_read_only(stage: Stage, chance: random.Random) -> Allowed:
    return await play(stage, chance, read_only)


FULL = Row(5, "Redis at maxmemory", _fill)
READ_ONLY = Row(6, "Redis answers READONLY (failover)", _make_read_only)
HANGS = Row(7, "Redis hangs for 2 to 5 s; SIGTERM to one process meanwhile", _hang)
