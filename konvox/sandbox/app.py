"""Put the sandbox together: resources, control paths, the envelope around them, and the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler

from konvox.sandbox import campaigns, connections, contacts, control, senders, webhooks
from konvox.sandbox.auth import auth_middleware
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.delivery import deliverer_context, stop_deliveries
from konvox.sandbox.envelope import envelope_middleware
from konvox.sandbox.simulation import simulation_context
from konvox.sandbox.state import STATE, SandboxState, open_storage

_RESOURCES = (campaigns, contacts, senders, connections, webhooks, control)
"""The modules whose `routes(config)` the sandbox serves."""

_SHUTDOWN_SECONDS = 2.0


def create_sandbox(config: SandboxConfig) -> web.Application:
    """The sandbox as an aiohttp application, with the records of its state file, or none."""
    # The envelope is the outermost middleware, because an answer to a refused key needs it too.
    app = web.Application(middlewares=[envelope_middleware, auth_middleware(config), _commit])
    for resource in _RESOURCES:
        app.add_routes(resource.routes(config))
    for context in (_state_context, deliverer_context, simulation_context):
        app.cleanup_ctx.append(partial(context, config=config))
    app.on_shutdown.append(stop_deliveries)
    return app


async def run_sandbox(
    config: SandboxConfig, *, host: str, port: int, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve the sandbox until this is cancelled.

    Args:
        config: see `SandboxConfig`.
        host: the address to listen on.
        port: the port to listen on; 0 for a free one.
        on_ready: called once with the sandbox's URL when it listens.

    Raises:
        OSError: the address cannot be listened on.
        StateFileError: the state file cannot be used.
    """
    # Without an access log: the sandbox logs what matters, and no headers.
    runner = web.AppRunner(create_sandbox(config), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if on_ready is not None:
            on_ready(_own_url(host, runner.addresses[0][1]))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


@web.middleware
async def _commit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write changes to the state file before the answer is sent."""
    response = await handler(request)
    request.app[STATE].commit()
    return response


async def _state_context(app: web.Application, config: SandboxConfig) -> AsyncIterator[None]:
    """Keep the app's state from its start to its end."""
    if config.state_file is None:
        app[STATE] = SandboxState()
        yield
        return
    storage, app[STATE] = open_storage(config.state_file)
    yield
    storage.close()


def _own_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
