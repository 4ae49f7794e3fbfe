"""SAQ behind aiohttp: `python -m benchmarks.peers.saq_app receive`, or `work`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue, Worker

from benchmarks.marks import mark
from benchmarks.peers.aiohttp_app import Enqueue, serve
from konvox.events import ContactReplied

CONCURRENCY = 100


async def handle(ctx: Any, *, event: dict[str, Any]) -> None:
    """Tell that the handler of a typed event has started."""
    del ctx
    mark(ContactReplied.model_validate(event).data.contact_id)


@asynccontextmanager
async def open_queue() -> AsyncIterator[Enqueue]:
    """What `serve` needs."""
    queue = Queue.from_url(os.environ["STORE_URL"])
    await queue.connect()
    yield lambda event: queue.enqueue("handle", event=event)
    await queue.disconnect()


async def work() -> None:
    """Work until SIGTERM."""
    queue = Queue.from_url(os.environ["STORE_URL"])
    await Worker(queue, functions=[handle], concurrency=CONCURRENCY).start()


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        serve(open_queue)
    else:
        asyncio.run(work())
