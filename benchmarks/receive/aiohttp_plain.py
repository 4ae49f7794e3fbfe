"""The least that aiohttp can do: an application that verifies and parses, and queues nothing at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.peers.aiohttp_app import Enqueue, serve
from benchmarks.processes import python
from benchmarks.receive.contender import Receiver, environment


async def lose(event: dict[str, Any]) -> None:
    """Queue nothing."""
    del event


@asynccontextmanager
async def no_queue() -> AsyncIterator[Enqueue]:
    """What `serve` needs."""
    yield lose


CONTENDER = Receiver(
    "aiohttp alone",
    python("benchmarks.receive.aiohttp_plain"),
    environment,
    stored=None,
    note="verify, parse; the event is lost",
    target_ratio=0.95,
)

if __name__ == "__main__":
    serve(no_queue)
