"""streaQ behind aiohttp: `receive`, or `work`."""

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import streaq
from aiohttp import web

from benchmarks.harness.workload import mark
from benchmarks.peers.aiohttp_app import QUEUE, Queue, serve
from konvox.events import ContactReplied

worker = streaq.Worker(redis_url=os.environ["STORE_URL"], concurrency=int(os.environ["CONCURRENCY"]))


async def handle(event: dict[str, Any]) -> None:
    """Write down that the handler of a typed event has started."""
    mark(ContactReplied.model_validate(event).data.contact_id)


task = worker.task(name="handle")(handle)


async def open_queue(app: web.Application) -> AsyncIterator[None]:
    """What `serve` needs."""
    async with worker:
        app[QUEUE] = Queue(task.enqueue)
        yield


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        serve(open_queue)
    else:
        worker.run_sync()
