"""Stock arq behind aiohttp, with one `enqueue_job` for each request: `receive`, `work [tuned]`, or `fill`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import arq
from aiohttp import web
from arq.connections import RedisSettings, create_pool

from benchmarks.harness.workload import mark
from benchmarks.peers.aiohttp_app import QUEUE, Queue, serve
from konvox.events import ContactReplied

_AT_ONCE = 100
_STORE = RedisSettings.from_dsn(os.environ["STORE_URL"])


async def deliver(ctx: dict[str, Any], body: bytes) -> None:
    """Do nothing with a typed event."""
    del ctx
    ContactReplied.model_validate_json(body)


async def handle_event(ctx: dict[str, Any], event: dict[str, Any]) -> None:
    """Write down that the handler of a typed event has started."""
    del ctx
    mark(ContactReplied.model_validate(event).data.contact_id)


async def open_queue(app: web.Application) -> AsyncIterator[None]:
    """What `serve` needs."""
    redis = await create_pool(_STORE)
    app[QUEUE] = Queue(lambda event: redis.enqueue_job("handle_event", event))
    yield
    await redis.aclose()


async def fill() -> None:
    """Queue what is on standard input, a body a line."""
    redis = await create_pool(_STORE)
    bodies = sys.stdin.buffer.read().splitlines()
    for first in range(0, len(bodies), _AT_ONCE):
        await asyncio.gather(*(redis.enqueue_job("deliver", body) for body in bodies[first : first + _AT_ONCE]))
    await redis.aclose()


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        serve(open_queue)
    elif sys.argv[1] == "fill":
        asyncio.run(fill())
    else:
        tuned: dict[str, Any] = {"max_jobs": 100, "poll_delay": 0.01} if "tuned" in sys.argv else {}
        arq.Worker(functions=[deliver, handle_event], redis_settings=_STORE, **tuned).run()
