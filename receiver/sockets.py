"""Listen on several addresses with one port. Used by the public listener, and by those of `konvox_hooks`."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

_EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104 - what `::` stands for as well
_EVERY_IPV6: Final = "::"

_PORT_ATTEMPTS: Final = 20
"""How often to look for a port that is free at every address."""


async def listen(
    protocol_factory: Callable[[], asyncio.BaseProtocol], hosts: Sequence[str], port: int, **options: Any
) -> list[asyncio.Server]:
    """Listen on every address, and on the same port of each.

    Args:
        protocol_factory: makes the protocol of a connection.
        hosts: names and addresses; `::` stands for every address of both families.
        port: the port; 0 for any one that is free at all of them.
        options: further ones of `loop.create_server`.

    Raises:
        OSError: an address cannot be listened on; its `filename` is the address.
    """
    attempts = 1 if port else _PORT_ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            return await _listen_once(protocol_factory, hosts, port, options)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == attempts:
                raise
    raise AssertionError  # the last attempt returns or raises


def bound_port(servers: Sequence[asyncio.Server]) -> int:
    """The port of servers that `listen` has made."""
    return int(servers[0].sockets[0].getsockname()[1])


async def _listen_once(
    protocol_factory: Callable[[], asyncio.BaseProtocol], hosts: Sequence[str], port: int, options: dict[str, Any]
) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    try:
        for host in hosts:
            addresses = await _addresses(host, port)
            for address in addresses:
                if any(_is_bound(server, address) for server in servers):
                    continue
                port_here = port or (bound_port(servers) if servers else 0)
                try:
                    servers.append(await loop.create_server(protocol_factory, address, port_here, **options))
                except OSError as error:
                    # A name such as localhost may also stand for an address of a family that is switched off here.
                    if host in addresses or address == addresses[-1] or error.errno == errno.EADDRINUSE:
                        raise
    except BaseException:
        for server in servers:
            server.close()
        raise
    return servers


def _is_bound(server: asyncio.Server, address: str) -> bool:
    return any(listening.getsockname()[0] == address for listening in server.sockets)


async def _addresses(host: str, port: int) -> list[str]:
    """The addresses that a name stands for, without doubles."""
    if host == _EVERY_IPV6:
        return [_EVERY_IPV6, _EVERY_IPV4]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
