"""The pipe: commands side by side on one connection, each with its own answer, whatever happens to the others."""

from __future__ import annotations

import asyncio
import signal
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


async def own_connection(pipe: PipelinedConnection) -> int:
    """The server's number of the connection that the pipe has at the moment."""
    return int(await pipe.execute_command("CLIENT", "ID"))


async def blocked(server: RedisClient) -> None:
    """Wait until a client of the server waits for something in a list."""

    async def is_blocked() -> bool:
        """Whether one does."""
        return bool((await server.info("clients"))["blocked_clients"])

    await until(is_blocked)


async def test_each_gets_its_own_answer(server: RedisClient) -> None:
    """However many are under way, all on one connection."""
    pipe = PipelinedConnection(server)
    answers = await asyncio.gather(*(pipe.execute_command("ECHO", str(number)) for number in range(500)))
    assert answers == [str(number).encode() for number in range(500)]
    assert len(set(await asyncio.gather(*(own_connection(pipe) for _ in range(20))))) == 1


async def test_nobody_waits_for_the_answer_before(server: RedisClient) -> None:
    """A command goes out while the one before it is still being run."""
    pipe = PipelinedConnection(server)
    first = asyncio.create_task(pipe.execute_command("BLPOP", "list", 0))
    await blocked(server)
    second = asyncio.create_task(pipe.execute_command("ECHO", "second"))
    await server.rpush("list", "first")
    answers: list[object] = list(await asyncio.gather(first, second))
    assert answers == [[b"list", b"first"], b"second"]


async def test_a_refusal_is_told_to_whom_it_concerns(server: RedisClient) -> None:
    """The others get their answers."""
    pipe = PipelinedConnection(server)
    await server.set("text", "text")
    before, refused, after = await asyncio.gather(
        pipe.execute_command("ECHO", "before"),
        pipe.execute_command("LPUSH", "text", "1"),
        pipe.execute_command("ECHO", "after"),
        return_exceptions=True,
    )
    assert (before, after) == (b"before", b"after")
    assert isinstance(refused, redis.ResponseError)


async def test_who_goes_away_takes_no_answer_along(server: RedisClient) -> None:
    """The answer of a cancelled call is thrown away, and not given to the next."""
    pipe = PipelinedConnection(server)
    gone = asyncio.create_task(pipe.execute_command("BLPOP", "list", 0))
    await blocked(server)
    stays = asyncio.create_task(pipe.execute_command("ECHO", "stays"))
    gone.cancel()
    await server.rpush("list", "for nobody")
    assert await stays == b"stays"
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_an_idle_connection_is_given_back(server: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is anybody's, with the time-out that it had."""
    monkeypatch.setattr(broker.redis.pipelined, "IDLE_SECONDS", 0.0)
    pipe = PipelinedConnection(server)
    for _ in range(3):
        number = await own_connection(pipe)
        await until(partial(_all_free, server))
        assert await server.client_id() == number
    [connection] = server.connection_pool._available_connections
    assert connection.socket_timeout == 2.0


async def _all_free(server: RedisClient) -> bool:
    return not server.connection_pool._in_use_connections


async def test_a_busy_connection_is_kept(server: RedisClient) -> None:
    """From one command to the next: to borrow it anew takes some turns of the event loop."""
    pipe = PipelinedConnection(server)
    mine = await own_connection(pipe)
    assert await server.client_id() != mine
    assert await own_connection(pipe) == mine


async def test_a_server_that_leaves_while_all_is_quiet_is_noticed(server: RedisClient) -> None:
    """The next command does not meet the dead connection."""
    pipe = PipelinedConnection(server)
    lost = await own_connection(pipe)
    await server.client_kill_filter(_id=lost)
    await until(partial(_all_free, server))
    assert await pipe.run(("ECHO", "1"), ("ECHO", "2")) == [b"1", b"2"]


async def test_several_commands_have_one_answer_each(server: RedisClient) -> None:
    """A refusal is one of them."""
    pipe = PipelinedConnection(server)
    await server.set("text", "text")
    before, refused, after = await pipe.run(("ECHO", "before"), ("LPUSH", "text", "1"), ("ECHO", "after"))
    assert (before, after) == (b"before", b"after")
    assert isinstance(refused, redis.ResponseError)


async def test_what_several_commands_do_is_not_repeated(server: RedisClient) -> None:
    """Their caller knows whether that would do any harm."""
    pipe = PipelinedConnection(server)
    call = asyncio.create_task(pipe.run(("INCR", "count"), ("BLPOP", "list", 0)))
    await blocked(server)
    [lost] = [client["id"] for client in await server.client_list() if client["cmd"] == "blpop"]
    await server.client_kill_filter(_id=lost)
    with pytest.raises(redis.ConnectionError):
        await call
    assert await server.get("count") == b"1"


async def test_a_lost_connection_is_replaced(server: RedisClient) -> None:
    """All that were under way are repeated on a new one."""
    pipe = PipelinedConnection(server)
    calls = [asyncio.create_task(pipe.execute_command("BLPOP", f"list{number}", 0)) for number in range(2)]
    await blocked(server)
    [lost] = [client["id"] for client in await server.client_list() if client["cmd"] == "blpop"]
    await server.client_kill_filter(_id=lost)
    await blocked(server)
    for number in range(2):
        await server.rpush(f"list{number}", "x")
    assert await asyncio.gather(*calls) == [[b"list0", b"x"], [b"list1", b"x"]]


def test_a_connection_that_was_closed_a_moment_ago_is_replaced(redis_url: str) -> None:
    """Which uvloop, as in the receiver, tells by an error of its own."""

    async def close_and_call() -> bytes:
        """Call while the connection's end has not been told yet."""
        server = connect(redis_url)
        pipe = PipelinedConnection(server)
        await own_connection(pipe)
        [connection] = server.connection_pool._in_use_connections
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # it is closed now, and whoever reads from it is next to hear of it
        answer: bytes = await pipe.execute_command("ECHO", "again")
        await close(server)
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(close_and_call()) == b"again"


async def test_a_server_that_is_gone_is_an_outage(own_valkey: ValkeyServer) -> None:
    """For all that were under way and all that come; and none any more when it is back."""
    server = connect(own_valkey.url())
    pipe = PipelinedConnection(server)
    waiting = asyncio.create_task(pipe.execute_command("BLPOP", "list", 0))
    await blocked(server)
    own_valkey.kill()
    outcomes = await asyncio.gather(waiting, pipe.execute_command("PING"), return_exceptions=True)
    assert all(isinstance(outcome, OUTAGES) for outcome in outcomes), outcomes
    own_valkey.start()
    assert await pipe.execute_command("ECHO", "back") == b"back"
    await close(server)


async def test_a_server_that_hangs_is_an_outage(own_valkey: ValkeyServer) -> None:
    """Known within the time-out of the connections; a late answer is nobody's."""
    server = connect(own_valkey.url(), timeout_seconds=0.2)
    pipe = PipelinedConnection(server)
    assert await pipe.execute_command("ECHO", "before") == b"before"
    assert own_valkey.process is not None
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        calls = [pipe.execute_command("ECHO", f"{number}") for number in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [redis.TimeoutError] * 3
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)
    assert await pipe.execute_command("ECHO", "after") == b"after"
    await close(server)
