"""SAQ behind aiohttp: `receive`, or `work`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import saq
from aiohttp import web

from benchmarks.harness.workload import mark
from benchmarks.peers.aiohttp_app import QUEUE, Queue, serve
from konvox.events import ContactReplied

queue = saq.Queue.from_url(os.environ["STORE_URL"])


async def handle(ctx: object, *, event: dict[str, Any]) -> None:
    """Write down that the handler of a typed event has started."""
    del ctx
    mark(ContactReplied.model_validate(event).data.contact_id)


async def open_queue(app: web.Application) -> AsyncIterator[None]:
    """What `serve` needs."""
    await queue.connect()
    app[QUEUE] = Queue(lambda event: queue.enqueue("handle", event=event))
    yield
    await queue.disconnect()


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        serve(open_queue)
    else:
        worker = saq.Worker(queue, functions=[handle], concurrency=int(os.environ["CONCURRENCY"]))
        asyncio.run(worker.start())
