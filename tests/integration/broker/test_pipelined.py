"""The pipelined connection: commands in flight side by side, each with its own answer."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial

import pytest
import redis
import uvloop

import broker.redis.pipelined
from broker.redis.client import OUTAGES, close
from broker.redis.pipelined import PipelinedConnection
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import until


async def own_connection(pipelined: PipelinedConnection) -> int:
    """The server's number of the connection that the pipelined has at the moment."""
    return int(await pipelined.execute_command("CLIENT", "ID"))


async def blocked(server: RedisClient) -> None:
    """Wait until a client of the server waits for something in a list."""

    async def is_blocked() -> bool:
        """Whether one does."""
        return bool((await server.info("clients"))["blocked_clients"])

    await until(is_blocked)


async def test_each_gets_its_own_answer(server: RedisClient) -> None:
    """However many commands are in flight on the one connection, each gets its own answer."""
    pipelined = PipelinedConnection(server)
    answers = await asyncio.gather(*(pipelined.execute_command("ECHO", str(number)) for number in range(500)))
    assert answers == [str(number).encode() for number in range(500)]
    assert len(set(await asyncio.gather(*(own_connection(pipelined) for _ in range(20))))) == 1


async def test_nobody_waits_for_the_answer_before(server: RedisClient) -> None:
    """A command goes out while the one before it is still running."""
    pipelined = PipelinedConnection(server)
    first = asyncio.create_task(pipelined.execute_command("BLPOP", "list", 0))
    await blocked(server)
    second = asyncio.create_task(pipelined.execute_command("ECHO", "second"))
    await server.rpush("list", "first")
    answers: list[object] = list(await asyncio.gather(first, second))
    assert answers == [[b"list", b"first"], b"second"]


async def test_a_refusal_is_raised_for_its_own_command(server: RedisClient) -> None:
    """A refusal is raised for the command that was refused, and the others get their answers."""
    pipelined = PipelinedConnection(server)
    await server.set("text", "text")
    before, refused, after = await asyncio.gather(
        pipelined.execute_command("ECHO", "before"),
        pipelined.execute_command("LPUSH", "text", "1"),
        pipelined.execute_command("ECHO", "after"),
        return_exceptions=True,
    )
    assert (before, after) == (b"before", b"after")
    assert isinstance(refused, redis.ResponseError)


async def test_who_goes_away_takes_no_answer_along(server: RedisClient) -> None:
    """The answer to a cancelled call is thrown away, and not given to the next call."""
    pipelined = PipelinedConnection(server)
    gone = asyncio.create_task(pipelined.execute_command("BLPOP", "list", 0))
    await blocked(server)
    stays = asyncio.create_task(pipelined.execute_command("ECHO", "stays"))
    gone.cancel()
    await server.rpush("list", "for nobody")
    assert await stays == b"stays"
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_an_idle_connection_is_returned(server: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is returned to the pool, with the time-out that it had."""
    monkeypatch.setattr(broker.redis.pipelined, "IDLE_SECONDS", 0.0)
    pipelined = PipelinedConnection(server)
    for _ in range(3):
        number = await own_connection(pipelined)
        await until(partial(_all_free, server))
        assert await server.client_id() == number
    [connection] = server.connection_pool._available_connections
    assert connection.socket_timeout == 2.0


async def _all_free(server: RedisClient) -> bool:
    return not server.connection_pool._in_use_connections


async def test_a_busy_connection_is_kept(server: RedisClient) -> None:
    """A connection is kept from one command to the next, because borrowing one takes some turns of the loop."""
    pipelined = PipelinedConnection(server)
    mine = await own_connection(pipelined)
    assert await server.client_id() != mine
    assert await own_connection(pipelined) == mine


async def test_a_server_that_leaves_while_all_is_quiet_is_noticed(server: RedisClient) -> None:
    """A connection that is lost while nothing is due is replaced before the next command."""
    pipelined = PipelinedConnection(server)
    lost = await own_connection(pipelined)
    await server.client_kill_filter(_id=lost)
    await until(partial(_all_free, server))
    assert await pipelined.run(("ECHO", "1"), ("ECHO", "2")) == [b"1", b"2"]


async def test_several_commands_have_one_answer_each(server: RedisClient) -> None:
    """Of several commands in one call, each has an answer, and a refusal is one as well."""
    pipelined = PipelinedConnection(server)
    await server.set("text", "text")
    before, refused, after = await pipelined.run(("ECHO", "before"), ("LPUSH", "text", "1"), ("ECHO", "after"))
    assert (before, after) == (b"before", b"after")
    assert isinstance(refused, redis.ResponseError)


async def test_what_several_commands_do_is_not_repeated(server: RedisClient) -> None:
    """A call of several commands is not repeated, because only its caller knows whether that does harm."""
    pipelined = PipelinedConnection(server)
    call = asyncio.create_task(pipelined.run(("INCR", "count"), ("BLPOP", "list", 0)))
    await blocked(server)
    [lost] = [client["id"] for client in await server.client_list() if client["cmd"] == "blpop"]
    await server.client_kill_filter(_id=lost)
    with pytest.raises(redis.ConnectionError):
        await call
    assert await server.get("count") == b"1"


async def test_a_lost_connection_is_replaced(server: RedisClient) -> None:
    """All commands that are in flight on a lost connection are repeated on a new one."""
    pipelined = PipelinedConnection(server)
    calls = [asyncio.create_task(pipelined.execute_command("BLPOP", f"list{number}", 0)) for number in range(2)]
    await blocked(server)
    [lost] = [client["id"] for client in await server.client_list() if client["cmd"] == "blpop"]
    await server.client_kill_filter(_id=lost)
    await blocked(server)
    for number in range(2):
        await server.rpush(f"list{number}", "x")
    assert await asyncio.gather(*calls) == [[b"list0", b"x"], [b"list1", b"x"]]


def test_a_connection_that_was_closed_a_moment_ago_is_replaced(redis_url: str) -> None:
    """A connection that was closed a moment ago, which uvloop reports in its own way, is replaced."""

    async def close_and_call() -> bytes:
        """Call before the connection's end is known."""
        server = connect(redis_url)
        pipelined = PipelinedConnection(server)
        await own_connection(pipelined)
        [connection] = server.connection_pool._in_use_connections
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # it is closed now, and its reader hears of it next
        answer: bytes = await pipelined.execute_command("ECHO", "again")
        await close(server)
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(close_and_call()) == b"again"


async def test_a_server_that_is_gone_is_an_outage(own_valkey: ValkeyServer) -> None:
    """A server that is gone is an outage for all calls until it is back."""
    server = connect(own_valkey.url())
    pipelined = PipelinedConnection(server)
    waiting = asyncio.create_task(pipelined.execute_command("BLPOP", "list", 0))
    await blocked(server)
    own_valkey.kill()
    outcomes = await asyncio.gather(waiting, pipelined.execute_command("PING"), return_exceptions=True)
    assert all(isinstance(outcome, OUTAGES) for outcome in outcomes), outcomes
    own_valkey.start()
    assert await pipelined.execute_command("ECHO", "back") == b"back"
    await close(server)


async def test_an_answer_may_come_after_the_idle_limit(server: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command on a quiet connection has the whole time-out, although the idle limit passes before it is answered."""
    monkeypatch.setattr(broker.redis.pipelined, "IDLE_SECONDS", 0.2)
    pipelined = PipelinedConnection(server)
    connection = await own_connection(pipelined)
    assert await pipelined.run(("BLPOP", "list", 0.5), ("CLIENT", "ID")) == [None, connection]


async def test_a_server_that_hangs_is_an_outage(own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging server is an outage within the time-out, and a late answer is given to nobody."""
    monkeypatch.setattr(broker.redis.pipelined, "IDLE_SECONDS", 60.0)
    server = connect(own_valkey.url(), timeout_seconds=0.2)
    pipelined = PipelinedConnection(server)
    assert await pipelined.execute_command("ECHO", "before") == b"before"
    assert own_valkey.process is not None
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        calls = [pipelined.execute_command("ECHO", f"{number}") for number in range(3)]
        started = time.monotonic()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert 0.2 <= time.monotonic() - started < 2.0
        assert [type(outcome) for outcome in outcomes] == [redis.TimeoutError] * 3
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)
    assert await pipelined.execute_command("ECHO", "after") == b"after"
    await close(server)
