"""The connections of the public listener: in pieces, in a row, slow, idle, broken off, and while the receiver stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver import app, listener
from receiver.errors import OverloadedError
from receiver.group_commit import GroupCommit
from receiver.listener import PublicListener
from receiver.verification import AccountPolicy
from tests.support.events import body_of
from tests.support.held import HeldCommit
from tests.support.http import TOKEN, RunningReceiver, http_request, read_answer
from tests.support.store import KEYS, RedisClient

HOOK = f"/hooks/konvox/{TOKEN}"
REQUEST = http_request(HOOK, body_of(1))


@pytest.fixture
async def waiting(held: HeldCommit) -> AsyncIterator[tuple[PublicListener, int]]:
    """A receiver on that store, and its port."""
    public = PublicListener([AccountPolicy(tokens=[TOKEN])], GroupCommit(held.write), stop_seconds=5)
    port = await public.start("127.0.0.1", 0)
    yield public, port
    held.let_through.set()
    await public.stop()


@pytest.mark.parametrize("cut", [1, 20, REQUEST.index(b"\r\n\r\n") + 2, len(REQUEST) - 1])
async def test_a_request_may_come_in_two_pieces(receiver: RunningReceiver, cut: int) -> None:
    """A request may be cut in the method, the path, the end of the head or the body; the connection stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    for status in ("accepted", "duplicate"):
        writer.write(REQUEST[:cut])
        await receiver.send(http_request("/healthz", method="GET"))  # by now the first piece has been read
        writer.write(REQUEST[cut:])
        assert (await read_answer(reader)).json["status"] == status
    writer.close()


async def test_the_next_request_may_begin_behind_the_last(receiver: RunningReceiver) -> None:
    """The beginning of a request that comes along with the one before is not lost."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(REQUEST + REQUEST[:30])
    assert (await read_answer(reader)).json["status"] == "accepted"
    writer.write(REQUEST[30:])
    assert (await read_answer(reader)).json["status"] == "duplicate"
    writer.close()


async def test_requests_that_come_while_one_waits_are_answered_in_turn(
    waiting: tuple[PublicListener, int], held: HeldCommit
) -> None:
    """A sender that does not wait for its answers gets them in turn."""
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    writer.write(REQUEST)
    await held.arrived.wait()
    writer.write(http_request(HOOK, body_of(2)) + REQUEST)
    held.let_through.set()
    answers = [(await read_answer(reader)).json for _ in range(3)]
    assert [answer["status"] for answer in answers] == ["accepted", "accepted", "duplicate"]
    assert answers[0]["id"] == answers[2]["id"] != answers[1]["id"]
    writer.close()


@pytest.mark.parametrize("part", [b"", REQUEST[:10], REQUEST[:-1]], ids=["nothing", "half a head", "half a body"])
async def test_a_sender_that_dawdles_is_not_waited_for(
    receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    """A slow sender's connection is closed, with a 408 if it has begun a request; others are served meanwhile."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(part)
    assert (await receiver.deliver(body_of(2))).status == 200
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(listener, "IDLE_SECONDS", 0.0)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ") is bool(part)
    assert answer.endswith(b'{"error":"the request did not arrive in time"}') is bool(part)
    writer.close()


async def test_a_connection_in_use_is_not_idle(
    waiting: tuple[PublicListener, int], held: HeldCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that waits for its answer gets it, however long the store takes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    writer.write(REQUEST)
    await held.arrived.wait()
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(listener, "IDLE_SECONDS", 0.0)
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    assert await idle.read() == b""  # the sweep has been round
    idle_writer.close()
    held.let_through.set()
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_a_sender_that_goes_away_does_not_lose_its_event(
    waiting: tuple[PublicListener, int], held: HeldCommit, server: RedisClient
) -> None:
    """An event is kept and counted although its sender closes the connection before the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    writer.write(REQUEST)
    await held.arrived.wait()
    writer.transport.abort()
    held.let_through.set()
    await waiting[0].group_commit.drain()
    assert waiting[0].counters.accepted == 1
    assert await server.zcard(KEYS.queue) == 1


async def test_a_stop_answers_what_has_come(waiting: tuple[PublicListener, int], held: HeldCommit) -> None:
    """Idle connections are closed, new ones refused; an event that is under way, or has come in part, is answered."""
    late_reader, late_writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    late_writer.write(REQUEST[:-1])
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    writer.write(http_request(HOOK, body_of(2)))
    await held.arrived.wait()
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", waiting[1])
    stopping = asyncio.create_task(waiting[0].stop())
    assert await idle.read() == b""
    idle_writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", waiting[1])
    assert not stopping.done()
    held.let_through.set()
    answer = await read_answer(reader)
    assert (answer.status, answer.header("Connection")) == (200, "close")
    assert await reader.read() == b""
    assert not stopping.done()
    late_writer.write(REQUEST[-1:])
    assert (await read_answer(late_reader)).status == 200
    await stopping
    writer.close()
    late_writer.close()


async def test_a_stop_does_not_wait_for_ever(held: HeldCommit) -> None:
    """A request that is not answered in the given time is cut off: without a 200 the sender tries again."""
    public = PublicListener([AccountPolicy(tokens=[TOKEN])], GroupCommit(held.write), stop_seconds=0)
    reader, writer = await asyncio.open_connection("127.0.0.1", await public.start("127.0.0.1", 0))
    writer.write(REQUEST)
    await held.arrived.wait()
    await public.stop()
    assert await reader.read() == b""
    writer.close()
    held.let_through.set()
    await public.group_commit.drain()


async def test_both_ways_give_the_same_answers(receiver: RunningReceiver) -> None:
    """A plain delivery gets the same answer as the same one in chunks, which is left to aiohttp."""
    chunks = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    for body in (body_of(1), b"[]", b"hello"):
        await receiver.deliver(body)
        plain = await receiver.deliver(body)
        chunked = await receiver.send(http_request(HOOK, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), headers=chunks))
        assert (plain.status, plain.json) == (chunked.status, chunked.json)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (BrokerUnavailableError("gone"), 503, "not stored, try again"),
        (OverloadedError("too much"), 503, "too many requests, try again"),
        (RuntimeError("a fault"), 500, "a fault of the receiver's own"),
    ],
)
async def test_an_event_that_is_not_kept_is_not_answered_with_200(error: Exception, status: int, said: str) -> None:
    """Outage and overload are a 503 with `Retry-After`, our own fault is a 500, and the connection stays open."""

    async def refuse(_: Sequence[Job]) -> list[bool]:
        """Keep nothing."""
        raise error

    public = PublicListener([AccountPolicy(tokens=[TOKEN])], GroupCommit(refuse), stop_seconds=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", await public.start("127.0.0.1", 0))
    for _ in range(2):
        writer.write(REQUEST)
        answer = await read_answer(reader)
        assert (answer.status, answer.json) == (status, {"error": said})
        assert answer.header("Retry-After") == ("5" if status == 503 else None)
    counters = public.counters
    assert counters.unavailable == (2 if isinstance(error, BrokerUnavailableError) else 0)
    assert counters.shed == (2 if isinstance(error, OverloadedError) else 0)
    writer.close()
    await public.stop()


async def test_large_bodies_wait_for_room(receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body is held in memory as a whole, so the next one gets a 503 until there is room for it."""
    monkeypatch.setattr(app, "MOST_BODIES", 1)
    large = http_request(HOOK, body_of(1, subject="x" * 100_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(large[:-1])
    while (refused := await receiver.send(large)).status == 200:
        pass  # the first has not been read that far yet
    assert (refused.status, refused.header("Retry-After")) == (503, "5")
    assert refused.json == {"error": "too many requests, try again"}
    assert (receiver.counters.shed, receiver.counters.unavailable) == (1, 0)
    assert (await receiver.deliver(body_of(2))).status == 200
    writer.write(large[-1:])
    assert (await read_answer(reader)).status == 200
    assert (await receiver.send(large)).json["status"] == "duplicate"
    writer.close()


async def test_a_sender_that_expects_a_100_gets_it(receiver: RunningReceiver) -> None:
    """A request with `Expect: 100-continue` gets the 100 that its sender waits for, and then its answer."""
    headers = [("Content-Type", "application/json"), ("Expect", "100-continue")]
    head, _, body = http_request(HOOK, body_of(1), headers=headers).partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(head + b"\r\n\r\n")
    async with asyncio.timeout(20):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_answer(reader)).json["status"] == "accepted"
    writer.close()


async def test_what_is_no_http_is_refused_in_json(receiver: RunningReceiver) -> None:
    """What is no HTTP is refused in JSON with the reason, and the answer does not name the server's software."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    answer = await read_answer(reader)
    assert (answer.status, answer.json) == (400, {"error": "this is no HTTP request"})
    assert answer.header("Server") is None
    assert await reader.read() == b""
    writer.close()
