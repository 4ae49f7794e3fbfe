"""The listener for new work: what it does when nothing is heard, and how it ends."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Any

import pytest

from broker.redis.client import close
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import until
from worker.leasing import notifications


async def test_a_silent_connection_is_tried_and_given_up_where_nobody_answers(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent connection is kept if it answers, and otherwise replaced: a machine that is gone does not close it."""
    monkeypatch.setattr(notifications, "_QUIET_SECONDS", 0.05)
    monkeypatch.setattr(notifications, "_RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(notifications, "COMMAND_TIMEOUT_SECONDS", 0.2)
    server = connect(own_valkey.url(), timeout_seconds=0.2)
    woken = asyncio.Event()
    listener = asyncio.create_task(
        notifications.listen(server, {KEYS.wake_channel: lambda _: woken.set()}, lost=woken.clear)
    )
    try:
        await until(lambda: _listens(server))
        (first,) = await _listeners(server)
        await until(lambda: _was_tried(server))
        assert [other["id"] for other in await _listeners(server)] == [first["id"]]

        assert own_valkey.process is not None
        own_valkey.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.6)  # nobody tells that nobody answers
        own_valkey.process.send_signal(signal.SIGCONT)
        await until(lambda: _replaced(server, first["id"]))
        woken.clear()
        await server.publish(KEYS.wake_channel, "")
        async with asyncio.timeout(5):
            await woken.wait()
    finally:
        listener.cancel()
        await asyncio.wait([listener])
        await close(server)


async def test_a_cancellation_that_is_lost_is_repeated() -> None:
    """A cancellation that redis-py loses in Python 3.11 is repeated, or the worker would never end."""
    entered = asyncio.Event()

    async def lose_the_first() -> None:
        """Ignore the first cancellation."""
        with suppress(asyncio.CancelledError):
            entered.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    listener = asyncio.create_task(lose_the_first())
    await entered.wait()
    await notifications.end(listener)
    assert listener.cancelled()


async def _listeners(server: RedisClient) -> list[dict[str, Any]]:
    listeners: list[dict[str, Any]] = await server.client_list(_type="pubsub")
    return listeners


async def _listens(server: RedisClient) -> bool:
    return len(await _listeners(server)) == 1


async def _was_tried(server: RedisClient) -> bool:
    return [listener["cmd"] for listener in await _listeners(server)] == ["ping"]


async def _replaced(server: RedisClient, first: str) -> bool:
    found = [listener["id"] for listener in await _listeners(server)]
    return len(found) == 1 and found != [first]
