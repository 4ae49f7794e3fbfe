"""One role in several processes, to use more than one core: `receiver --processes N` and `worker --processes N`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import click

from konvox_hooks.config.network import listening_hosts
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError
from konvox_hooks.service.listeners import cannot_listen
from konvox_hooks.service.supervisor import Child, Supervisor
from receiver.sockets import bound_port, listen

Command = Callable[..., Any]


def process_options(command: Command) -> Command:
    """Add `--processes` to a role's command, and the hidden option that a supervisor passes to its children."""
    processes = click.option(
        "--processes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="How many processes, under one supervisor that restarts one that dies.",
    )
    with_parent = click.option(
        "--with-parent",
        "parent_pid",
        type=int,
        metavar="PID",
        hidden=True,
        help="Stop when the parent process, which has this id, is gone.",
    )
    return processes(with_parent(command))


async def run_receivers(settings: Settings, processes: int, *, parent_pid: int | None = None) -> None:
    """Run several receivers on one port until SIGTERM or SIGINT. Called by `receiver --processes N`.

    Raises:
        UsageError: this system cannot share ports, the port is taken, or the receivers' configuration is wrong.
    """
    async with reserved_port(listening_hosts(settings.host), settings.port) as port:
        children = _children("receiver", ["--share-port"], processes, {"KONVOX_PORT": str(port)})
        await Supervisor(children).run(parent_pid=parent_pid)


async def run_workers(processes: int, *, burst: bool = False, parent_pid: int | None = None) -> None:
    """Run several workers until SIGTERM or SIGINT, or in burst mode until the queue is empty.

    Called by `worker --processes N`.

    Raises:
        UsageError: the workers' configuration is wrong.
    """
    children = _children("worker", ["--burst"] if burst else [], processes, {}, ends=burst)
    await Supervisor(children).run(parent_pid=parent_pid)


@asynccontextmanager
async def reserved_port(hosts: Sequence[str], port: int) -> AsyncIterator[int]:
    """Reserve a port for our children as long as the block runs, without listening on it; yields its number.

    Raises:
        UsageError: the port is taken, or this system cannot share ports.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise UsageError("this system does not let processes share a port: leave --processes out")
    async with AsyncExitStack() as stack:
        try:
            # First without sharing, to find out whether another service uses the port: it would take half the events.
            async with _bound(hosts, port, share=False) as free_port:
                pass
            await stack.enter_async_context(_bound(hosts, free_port, share=True))
        except OSError as error:
            raise cannot_listen(hosts, port, error, name="receiver") from None
        yield free_port


@asynccontextmanager
async def _bound(hosts: Sequence[str], port: int, *, share: bool) -> AsyncIterator[int]:
    servers = await listen(asyncio.Protocol, hosts, port, reuse_port=share, start_serving=False)
    try:
        yield bound_port(servers)
    finally:
        for server in servers:
            server.close()


def _children(
    role: str, arguments: list[str], processes: int, environment: Mapping[str, str], *, ends: bool = False
) -> list[Child]:
    """The first child's admin listener has the configured port, that of each further one any free port."""
    first = Child(f"{role}-1", [role, *arguments], environment, ends)
    own_port = {**environment, "KONVOX_ADMIN_PORT": "0"}
    further = [Child(f"{role}-{number}", [role, *arguments], own_port, ends) for number in range(2, processes + 1)]
    return [first, *further]
