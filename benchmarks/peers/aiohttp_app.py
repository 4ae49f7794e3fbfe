"""The plain aiohttp application in front of our peers' queues: verify, parse, enqueue, answer."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
from aiohttp import web

from benchmarks.workload import PATH, SECRET, SIGNATURE_HEADER

Enqueue = Callable[[dict[str, Any]], Awaitable[object]]
ENQUEUE = web.AppKey("enqueue", Enqueue)


def serve(open_queue: Callable[[], AbstractAsyncContextManager[Enqueue]]) -> None:
    """Serve until SIGTERM; `open_queue` yields what takes each event, and is entered in the server's event loop."""

    async def queue(app: web.Application) -> AsyncIterator[None]:
        async with open_queue() as enqueue:
            app[ENQUEUE] = enqueue
            yield

    app = web.Application()
    app.router.add_post(PATH, _receive)
    app.cleanup_ctx.append(queue)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)


def verified_event(body: bytes, signature: str) -> dict[str, Any]:
    """The event in a body whose signature is good."""
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise web.HTTPUnauthorized
    event: dict[str, Any] = orjson.loads(body)
    return event


async def _receive(request: web.Request) -> web.Response:
    event = verified_event(await request.read(), request.headers.get(SIGNATURE_HEADER, ""))
    await request.app[ENQUEUE](event)
    return web.json_response({"status": "accepted"})
