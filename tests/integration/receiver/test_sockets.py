"""Listening on several addresses: one port at all of them, and both families for `::`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from receiver.sockets import bound_port, listen

Listen = Callable[..., Awaitable[int]]


@pytest.fixture
async def listening() -> AsyncIterator[Listen]:
    """Listens on addresses until the test ends; the port."""
    async with AsyncExitStack() as stack:

        async def start(*hosts: str, port: int = 0) -> int:
            """Listen."""
            servers = await listen(asyncio.Protocol, hosts, port)
            for server in servers:
                stack.callback(server.close)
            return bound_port(servers)

        yield start


async def answers(host: str, port: int) -> bool:
    """Whether a connection can be made."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(
    ("hosts", "reached", "not_reached"),
    [
        (["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"]),
        (["127.0.0.1", "127.0.0.3"], ["127.0.0.1", "127.0.0.3"], ["127.0.0.2"]),
        (["127.0.0.1", "::1"], ["127.0.0.1", "::1"], ["127.0.0.2"]),
        (["::"], ["127.0.0.1", "127.0.0.2", "::1"], []),
        (["::", "0.0.0.0"], ["127.0.0.1", "127.0.0.2", "::1"], []),
        (["0.0.0.0"], ["127.0.0.1", "127.0.0.2"], ["::1"]),
        (["::1"], ["::1"], ["127.0.0.1"]),
        (["localhost"], ["localhost"], ["127.0.0.2"]),
        (["localhost", "127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"]),
    ],
)
async def test_each_address_has_the_same_port(
    listening: Listen, hosts: Sequence[str], reached: Sequence[str], not_reached: Sequence[str]
) -> None:
    """What was named is reached at one port, and nothing else is."""
    port = await listening(*hosts)
    assert [await answers(host, port) for host in reached] == [True] * len(reached)
    assert [await answers(host, port) for host in not_reached] == [False] * len(not_reached)


async def test_if_one_address_cannot_be_had_none_is(listening: Listen) -> None:
    """A port that is taken at the second address is not kept at the first."""
    port = await listening("127.0.0.3")
    with pytest.raises(OSError, match="in use"):
        await listening("127.0.0.2", "127.0.0.3", port=port)
    assert not await answers("127.0.0.2", port)
    with pytest.raises(OSError):  # noqa: PT011 - systems word it differently
        await listening("127.0.0.2", "203.0.113.250", port=0)


async def test_options_reach_every_socket(listening: Listen) -> None:
    """A shared port is shared at each address."""
    first = await listen(asyncio.Protocol, ["127.0.0.1", "127.0.0.3"], 0, reuse_port=True)
    second = await listen(asyncio.Protocol, ["127.0.0.1", "127.0.0.3"], bound_port(first), reuse_port=True)
    for server in (*first, *second):
        assert all(each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for each in server.sockets)
        server.close()
