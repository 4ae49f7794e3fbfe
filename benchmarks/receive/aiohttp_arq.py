"""The plain way to build it: an aiohttp application that verifies, parses and calls `enqueue_job` for each request."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from arq import ArqRedis, create_pool
from arq.constants import default_queue_name

from benchmarks.peers.aiohttp_app import Enqueue, serve
from benchmarks.processes import python
from benchmarks.receive.contender import Receiver, environment
from benchmarks.store import arq_settings


@asynccontextmanager
async def open_queue() -> AsyncIterator[Enqueue]:
    """What `serve` needs."""
    redis = await create_pool(arq_settings(os.environ["STORE_URL"]))
    yield lambda event: redis.enqueue_job("handle_event", event)
    await redis.aclose()


async def _stored(server: ArqRedis) -> int:
    return int(await server.zcard(default_queue_name))


CONTENDER = Receiver(
    "aiohttp + `enqueue_job`",
    python("benchmarks.receive.aiohttp_arq"),
    environment,
    _stored,
    note="verify, parse, one `enqueue_job` a request",
    target_ratio=5.0,
)

if __name__ == "__main__":
    serve(open_queue)
