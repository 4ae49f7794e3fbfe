"""The sandbox put together: resources, control paths, the envelope around them, and the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import web

from konvox.sandbox import control, webhooks
from konvox.sandbox.auth import auth_middleware
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.delivery import deliverer_context, stop_deliveries
from konvox.sandbox.envelope import envelope_middleware
from konvox.sandbox.state import STATE, SandboxState

_RESOURCES = (webhooks, control)
"""Every module whose `routes(config)` the sandbox serves."""

_SHUTDOWN_SECONDS = 2.0


def create_sandbox(config: SandboxConfig) -> web.Application:
    """The sandbox as an aiohttp application, with nothing registered yet."""
    # The envelope is the outermost: a key that is refused is answered in it as well.
    app = web.Application(middlewares=[envelope_middleware, auth_middleware(config)])
    app[STATE] = SandboxState()
    for resource in _RESOURCES:
        app.add_routes(resource.routes(config))
    app.cleanup_ctx.append(partial(deliverer_context, config=config))
    app.on_shutdown.append(stop_deliveries)
    return app


async def run_sandbox(
    config: SandboxConfig, *, host: str, port: int, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve the sandbox until this is cancelled.

    Args:
        config: keys, waits and limits.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.
        on_ready: called once with the sandbox's own URL when it answers.

    Raises:
        OSError: it cannot listen there.
    """
    # No access log: what is worth knowing is logged where it happens, without the callers' headers.
    runner = web.AppRunner(create_sandbox(config), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if on_ready is not None:
            on_ready(_own_url(host, runner.addresses[0][1]))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _own_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
