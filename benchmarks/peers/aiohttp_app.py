"""The plain aiohttp application in front of our peers' queues: verify, parse, enqueue, answer.

As a program it is the least that aiohttp can do: it verifies and parses, and the event is lost.
"""

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from benchmarks.harness.workload import PATH, SECRET, SIGNATURE_HEADER


@dataclass(frozen=True, slots=True)
class Queue:
    """What takes each event."""

    enqueue: Callable[[dict[str, Any]], Awaitable[object]]


QUEUE = web.AppKey("queue", Queue)


def serve(open_queue: Callable[[web.Application], AsyncIterator[None]]) -> None:
    """Serve until SIGTERM; `open_queue` sets QUEUE, yields, and closes it."""
    app = web.Application()
    app.router.add_post(PATH, _receive)
    app.cleanup_ctx.append(open_queue)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)


async def _receive(request: web.Request) -> web.Response:
    body, signature = await request.read(), request.headers.get(SIGNATURE_HEADER, "")
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise web.HTTPUnauthorized
    await request.app[QUEUE].enqueue(orjson.loads(body))
    return web.json_response({"status": "accepted"})


async def _lose_all(app: web.Application) -> AsyncIterator[None]:
    async def lose(event: dict[str, Any]) -> None:
        del event

    app[QUEUE] = Queue(lose)
    yield


if __name__ == "__main__":
    serve(_lose_all)
