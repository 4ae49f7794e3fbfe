"""taskiq on a Redis stream: a task that validates the event. Run as a module, it queues what is on stdin."""

from __future__ import annotations

import asyncio
import os
import sys

from taskiq_redis import RedisStreamBroker

from konvox.events import ContactReplied

_AT_ONCE = 100

broker = RedisStreamBroker(os.environ["STORE_URL"])


@broker.task(task_name="deliver")
async def deliver(body: str) -> None:
    """Do nothing with a typed event."""
    ContactReplied.model_validate_json(body)


async def fill() -> None:
    """Queue what is on stdin, a body a line."""
    await broker.startup()
    lines = sys.stdin.readlines()
    for first in range(0, len(lines), _AT_ONCE):
        await asyncio.gather(*(deliver.kiq(line) for line in lines[first : first + _AT_ONCE]))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(fill())
