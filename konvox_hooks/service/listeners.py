"""Open a listener as long as a role runs. Called by receiver and worker for their public and admin listeners."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from konvox_hooks.errors import UsageError

logger = structlog.get_logger("konvox_hooks")


class Listener(Protocol):
    """What `listening` opens: the receiver's `PublicListener`, or an `AdminListener`."""

    async def start(self, host: Sequence[str], port: int) -> int:
        """Listen on all addresses; returns the port. Raises OSError if one cannot be listened on."""
        ...

    async def stop(self) -> None:
        """Stop listening, after the requests in progress have been answered."""
        ...


@asynccontextmanager
async def listening(listener: Listener, hosts: str | Sequence[str], port: int, *, name: str) -> AsyncIterator[int]:
    """Listen as long as the block runs; yields the port, after logging the URL of each address.

    Args:
        listener: what to open.
        hosts: the addresses to listen on, or a single one.
        port: the port; 0 for any free one.
        name: the listener's name in the log, such as `receiver.admin`.

    Raises:
        UsageError: the address cannot be listened on.
    """
    hosts = [hosts] if isinstance(hosts, str) else hosts
    try:
        try:
            bound_port = await listener.start(hosts, port)
        except OSError as error:
            raise cannot_listen(hosts, port, error, name=name) from None
        for host in hosts:
            shown_host = f"[{host}]" if ":" in host else host
            logger.info("listener.started", listener=name, url=f"http://{shown_host}:{bound_port}")
        yield bound_port
    finally:
        await listener.stop()


def cannot_listen(hosts: Sequence[str], port: int, error: OSError, *, name: str) -> UsageError:
    """The error that says which addresses cannot be listened on, and which variable sets them."""
    prefix = "KONVOX_ADMIN_" if name.endswith("admin") else "KONVOX_"
    is_taken = error.errno in {errno.EADDRINUSE, errno.EACCES}
    variable = f"{prefix}PORT" if is_taken else f"{prefix}HOST or {prefix}PORT"
    return UsageError(f"cannot listen on {','.join(hosts)}:{port}: {error.strerror or error}; set {variable}")
