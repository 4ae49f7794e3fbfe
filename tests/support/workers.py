"""Workers for tests: handlers from plain functions, and a worker that runs in the test's event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from broker.records import Job
from broker.redis.client import COMMAND_TIMEOUT_SECONDS
from handlers import Context
from handlers.registry import Handler, Registry
from handlers.testkit import make_context
from tests.support.store import connect
from worker.config import WorkerConfig
from worker.running.dispatcher import ContextFactory, Dispatcher
from worker.worker import HookWorker


def handler(function: Callable[..., Any], *patterns: str, **options: Any) -> Handler:
    """A handler like one of the loader, for every event by default, with a short backoff."""
    usual: dict[str, Any] = {
        "name": function.__name__,
        "is_async": inspect.iscoroutinefunction(function),
        "takes_plain_event": True,
        "backoff_base_seconds": 0.001,
        "backoff_cap_seconds": 0.001,
    }
    return Handler(
        function=function, patterns=patterns or ("*",), state_key="tests", source="tests:1", **{**usual, **options}
    )


def context_of(job: Job, _handler: Handler) -> Context:
    """A context that needs no server."""
    return make_context(attempt=job.attempt)


def dispatcher_of(*handlers: Handler, make: ContextFactory = context_of) -> Dispatcher:
    """A dispatcher of these handlers."""
    return Dispatcher(Registry(handlers), make)


def worker_of(redis_url: str, *handlers: Handler, make: ContextFactory = context_of, **config: Any) -> HookWorker:
    """A worker with these handlers and a connection of its own, which obeys no signal.

    `timeout_seconds` is how long it gives Redis to answer, `once` the blocks of `ctx.once` that it keeps.
    """
    once, timeout_seconds = config.pop("once", None), config.pop("timeout_seconds", COMMAND_TIMEOUT_SECONDS)
    worker_config = WorkerConfig(redis_url, **config)
    return HookWorker(
        connect(redis_url, namespace=worker_config.namespace, timeout_seconds=timeout_seconds),
        dispatcher_of(*handlers, make=make),
        worker_config,
        once=once,
        handle_signals=False,
    )


async def run_burst(redis_url: str, *handlers: Handler, make: ContextFactory = context_of, **config: Any) -> HookWorker:
    """Run a worker until the queue is empty; returns it, with its counts."""
    worker = worker_of(redis_url, *handlers, make=make, burst=True, **config)
    try:
        await worker.async_run()
    finally:
        await worker.close()
    return worker


@asynccontextmanager
async def running(
    redis_url: str, *handlers: Handler, make: ContextFactory = context_of, **config: Any
) -> AsyncIterator[HookWorker]:
    """A worker that runs during the block; at its end it stops gracefully, and all it ran is settled."""
    worker = worker_of(redis_url, *handlers, make=make, **config)
    run = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        worker.stop()
        await run
        await worker.close()


async def until(condition: Callable[[], Awaitable[bool | int]]) -> None:
    """Wait for a state of Redis that nothing announces, within the test's time limit."""
    while True:
        if await condition():
            return
        await asyncio.sleep(0.01)
