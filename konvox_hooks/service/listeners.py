"""Open a listener for as long as a role runs. Used by the roles, for the public listener and for the admin listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from konvox_hooks.errors import UsageError

logger = structlog.get_logger("konvox_hooks")


class Listener(Protocol):
    """What can be listened with."""

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError if the address cannot be listened on."""
        ...

    async def stop(self) -> None:
        """Stop listening; what is under way is finished first."""
        ...


@asynccontextmanager
async def listening(listener: Listener, host: str, port: int, *, name: str) -> AsyncIterator[int]:
    """Listen as long as the block; yields the port, which is logged.

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
    """What to tell about an address that cannot be listened on."""
    variable = "KONVOX_ADMIN_PORT" if name.endswith("admin") else "KONVOX_PORT"
    return UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}; set {variable}")
