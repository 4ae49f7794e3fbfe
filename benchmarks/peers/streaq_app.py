"""streaQ behind aiohttp: `python -m benchmarks.peers.streaq_app receive`, or `work`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from benchmarks.marks import mark
from benchmarks.peers.aiohttp_app import Enqueue, serve
from konvox.events import ContactReplied

CONCURRENCY = 100

worker: Worker[None] = Worker(redis_url=os.environ["STORE_URL"], concurrency=CONCURRENCY)


@worker.task(name="handle")
async def handle(event: dict[str, Any]) -> None:
    """Tell that the handler of a typed event has started."""
    mark(ContactReplied.model_validate(event).data.contact_id)


@asynccontextmanager
async def open_queue() -> AsyncIterator[Enqueue]:
    """What `serve` needs."""

    async def enqueue(event: dict[str, Any]) -> object:
        return await handle.enqueue(event)

    async with worker:
        yield enqueue


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        serve(open_queue)
    else:
        worker.run_sync()
