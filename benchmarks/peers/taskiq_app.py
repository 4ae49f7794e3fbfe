"""taskiq on a Redis stream, with a task that validates the event. Its own command line is the worker; `fill`."""

import asyncio
import os
import sys

from taskiq_redis import RedisStreamBroker

from konvox.events import ContactReplied

_AT_ONCE = 100

broker = RedisStreamBroker(os.environ["STORE_URL"])


async def deliver(body: str) -> None:
    """Do nothing with a typed event."""
    ContactReplied.model_validate_json(body)


task = broker.task(task_name="deliver")(deliver)


async def fill() -> None:
    """Queue what is on standard input, a body a line."""
    await broker.startup()
    lines = sys.stdin.readlines()
    for first in range(0, len(lines), _AT_ONCE):
        await asyncio.gather(*(task.kiq(line) for line in lines[first : first + _AT_ONCE]))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(fill())
