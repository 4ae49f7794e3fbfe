"""The listener for new work: what it does when nothing is heard."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from broker import keys
from broker.redis.client import close
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import until
from worker import wakeup


async def test_a_silent_connection_is_tried_and_given_up_where_nobody_answers(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence alone is no reason to connect again, but a machine that is gone does not close its connections."""
    monkeypatch.setattr(wakeup, "_QUIET_SECONDS", 0.05)
    monkeypatch.setattr(wakeup, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(wakeup, "COMMAND_TIMEOUT_SECONDS", 0.2)
    server = connect(own_valkey.url(), timeout_seconds=0.2)
    woken = asyncio.Event()
    listener = asyncio.create_task(wakeup.listen(server, {keys.WAKE_CHANNEL: lambda _: woken.set()}, lost=woken.clear))
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
        await server.publish(keys.WAKE_CHANNEL, "")
        async with asyncio.timeout(5):
            await woken.wait()
    finally:
        listener.cancel()
        await asyncio.wait([listener])
        await close(server)


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
