"""The table of connections, and who makes room for whom: no stranger keeps others out, however many it opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from receiver import app, listener
from receiver.group_commit import GroupCommit
from receiver.listener import PublicListener
from receiver.peers import parse_network
from receiver.verification import AccountPolicy
from tests.support.events import body_of
from tests.support.held import HeldCommit
from tests.support.http import TOKEN, RunningReceiver, http_request, read_answer, receiving, send
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

HOOK = f"/hooks/konvox/{TOKEN}"
REQUEST = http_request(HOOK, body_of(1))


@pytest.fixture
async def small(held: HeldCommit) -> AsyncIterator[tuple[PublicListener, int]]:
    """A listener with room for five connections, and its port."""
    group_commit = GroupCommit(held.write)
    public = PublicListener([AccountPolicy(tokens=[TOKEN])], group_commit, stop_seconds=1, most_connections=5)
    yield public, await public.start("127.0.0.1", 0)
    held.let_through.set()
    await public.stop()
    await group_commit.drain()


async def test_the_longest_idle_connection_makes_room(small: tuple[PublicListener, int], held: HeldCommit) -> None:
    """A newcomer is served, and the connection that was idle for longest is closed for it."""
    held.let_through.set()
    public, port = small
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    silent[1][1].write(http_request("/healthz", method="GET"))  # aiohttp's from now on, and no longer the idlest
    assert (await read_answer(silent[1][0])).status == 200
    for number in range(3):
        answer = await send(port, http_request(HOOK, body_of(number)))
        assert (answer.status, answer.header("Connection")) == (200, "close")  # there is little room
    assert await silent[0][0].read() == b""
    newcomers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    for number in (2, 3, 4, 1):
        assert await silent[number][0].read() == b""
    assert (public.counters.evicted, public.counters.shed) == (5, 0)
    for _, writer in (*silent, *newcomers):
        writer.close()


async def test_a_sender_that_is_known_keeps_its_connection(small: tuple[PublicListener, int], held: HeldCommit) -> None:
    """A connection by which an event came is the last to go, also when it has been idle for longest."""
    held.let_through.set()
    _, port = small
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    assert (await read_answer(reader)).header("Connection") is None
    strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
    for stranger, _ in strangers[:8]:
        assert await stranger.read() == b""
    writer.write(http_request(HOOK, body_of(2)))
    assert (await read_answer(reader)).status == 200
    for _, other in (*strangers, (reader, writer)):
        other.close()


async def test_who_waits_for_an_answer_is_not_idle(small: tuple[PublicListener, int], held: HeldCommit) -> None:
    """If every connection waits for its event to be stored, a connection too many gets a 503."""
    public, port = small
    busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    for number, (_, writer) in enumerate(busy):
        writer.write(http_request(HOOK, body_of(number)))
    await held.arrived.wait()
    refused = await send(port, b"")
    assert (refused.status, refused.json["error"]) == (503, "too many connections, try again")
    assert (refused.header("Retry-After"), refused.header("Connection")) == ("5", "close")
    assert (public.counters.shed, public.counters.unavailable, public.counters.evicted) == (1, 0, 0)
    held.let_through.set()
    for reader, writer in busy:
        assert (await read_answer(reader)).status == 200
        writer.close()


async def test_slow_bodies_of_one_peer_leave_room_for_others(
    receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One address may have so many bodies in progress; another address is served meanwhile."""
    monkeypatch.setattr(app, "MOST_BODIES_PER_PEER", 2)
    large = http_request(HOOK, body_of(1, subject="x" * 100_000))
    slow = [await asyncio.open_connection("127.0.0.1", receiver.port) for _ in range(2)]
    for _, writer in slow:
        writer.write(large[:-1])
    while (refused := await receiver.send(large)).status == 200:
        pass  # the first two have not been read that far yet
    assert (refused.status, refused.header("Retry-After")) == (503, "5")
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port, local_addr=("127.0.0.2", 0))
    writer.write(large)
    assert (await read_answer(reader)).status == 200
    for _, other in (*slow, (reader, writer)):
        other.close()


async def test_a_proxys_peers_are_told_apart(server: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a trusted proxy each sender has room of its own for bodies."""
    monkeypatch.setattr(app, "MOST_BODIES_PER_PEER", 1)
    networks = [parse_network("127.0.0.1")]
    async with receiving(AccountPolicy(tokens=[TOKEN]), server, trusted_proxies=networks) as receiver:

        def large(peer: str) -> bytes:
            """A request of a peer."""
            headers = [("Content-Type", "application/json"), ("X-Forwarded-For", peer)]
            return http_request(HOOK, body_of(1, subject="x" * 100_000), headers=headers)

        _, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(large("2001:db8::1")[:-1])
        while (refused := await receiver.send(large("2001:db8::2"))).status == 200:
            pass  # the first has not been read that far yet
        assert refused.status == 503
        assert (await receiver.send(large("2001:db8:0:1::1"))).status == 200
        writer.close()


async def test_a_body_that_is_not_signed_is_not_read(start: Start) -> None:
    """Who shows neither a token nor a signature is refused before the body comes."""
    receiver = await start(scheme="hmac-sha256", signing_secrets=["the-signing-secret"])
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request("/hooks/konvox", b"", headers=[("Content-Length", "60000")]))
    answer = await read_answer(reader)
    assert (answer.status, answer.json) == (401, {"error": "signature refused: missing"})
    writer.close()


async def test_an_idle_connection_outlives_the_usual_proxies(
    receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends slow requests within 10 s leaves idle connections alone: a proxy in front closes them before we do."""
    assert listener.IDLE_SECONDS >= 75
    assert listener.REQUEST_SECONDS + listener.SWEEP_SECONDS < 10
    ways = [await asyncio.open_connection("127.0.0.1", receiver.port) for _ in range(3)]
    for request, (reader, writer) in zip((REQUEST, http_request("/healthz", method="GET")), ways, strict=False):
        writer.write(request)
        assert (await read_answer(reader)).status == 200
    slow, slow_writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    slow_writer.write(REQUEST[:10])
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.0)
    assert (await read_answer(slow)).status == 408
    monkeypatch.undo()
    for reader, writer in ways:
        writer.write(REQUEST)
        assert (await read_answer(reader)).status == 200
        writer.close()
    slow_writer.close()


async def test_how_long_a_connection_may_be_idle_can_be_set(server: RedisClient) -> None:
    """An idle connection is closed after the time that the listener is given, on both ways."""
    async with receiving(AccountPolicy(tokens=[TOKEN]), server, idle_seconds=0.05) as receiver:
        for request in (REQUEST, http_request("/healthz", method="GET")):
            reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
            writer.write(request)
            assert (await read_answer(reader)).status == 200
            assert await reader.read() == b""
            writer.close()


async def test_a_slow_head_behind_another_request_is_not_waited_for(
    receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that comes in part on a connection of aiohttp's is as little waited for as any other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request("/healthz", method="GET") + b"GET / HT")
    assert (await read_answer(reader)).status == 200
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.0)
    assert (await read_answer(reader)).status == 408
    assert await reader.read() == b""
    writer.close()
