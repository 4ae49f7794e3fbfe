"""Open a listener as long as a role runs. Called by receiver and worker for their public and admin listeners."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from konvox_hooks.errors import UsageError

logger = structlog.get_logger("konvox_hooks")


class Listener(Protocol):
    """What `listening` opens: the receiver's `PublicListener`, or an `AdminListener`."""

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError if the address cannot be listened on."""
        ...

    async def stop(self) -> None:
        """Stop listening, after the requests in progress have been answered."""
        ...


@asynccontextmanager
async def listening(listener: Listener, host: str, port: int, *, name: str) -> AsyncIterator[int]:
    """Listen as long as the block runs; yields the port, after logging the URL.

    Args:
        listener: what to open.
        host: the address to listen on.
        port: the port; 0 for any free one.
        name: the listener's name in the log, such as `receiver.admin`.

    Raises:
        UsageError: the address cannot be listened on.
    """
    try:
        try:
            bound_port = await listener.start(host, port)
        except OSError as error:
            raise cannot_listen(host, port, error, name=name) from None
        shown_host = f"[{host}]" if ":" in host else host
        logger.info("listener.started", listener=name, url=f"http://{shown_host}:{bound_port}")
        yield bound_port
    finally:
        await listener.stop()


def cannot_listen(host: str, port: int, error: OSError, *, name: str) -> UsageError:
    """The error that says which address cannot be listened on, and which variable sets it."""
    variable = "KONVOX_ADMIN_PORT" if name.endswith("admin") else "KONVOX_PORT"
    return UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}; set {variable}")
