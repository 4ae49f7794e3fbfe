"""Our function for a stock arq worker: users who run arq already can have such a worker drain our queue as well.

    arq.Worker(functions=[arq_function(dispatcher)], queue_name="konvox:queue", job_deserializer=orjson.loads, …)

It has our retries, dead letters, fences and ledger, but stock arq's polling and its long wait after a crash.
`HookWorker` is given the same function, because an arq worker must have one, and never calls it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import arq
import structlog
from arq.worker import Function

from broker import queue
from broker.errors import MalformedRecordError
from broker.keys import DEFAULT_NAMESPACE
from broker.queue import Claimed, Settlement
from broker.records import FUNCTION_NAME, Job
from broker.redis.client import OUTAGES, in_namespace
from broker.redis.commands import Server
from worker.running.dispatcher import Dispatcher
from worker.running.verdicts import settlement_of, unreadable_settlement

LEASE_SECONDS = 310
"""Stock arq's own: its longest job and ten seconds; longer where a handler may take longer. It renews nothing."""

RETENTION_SECONDS = 604_800
"""For how long the outcomes of delivered events can be looked up."""

logger = structlog.get_logger("worker")

_NEVER = 2**31
"""Stock arq deletes a job that was tried too often. Ours are counted elsewhere, and end as dead letters."""


def arq_function(dispatcher: Dispatcher, *, namespace: str = DEFAULT_NAMESPACE) -> Function:
    """The function that our jobs name, as an arq worker takes it.

    Stock arq deletes a job that has ended in any way, time-outs and errors included. Only after `arq.Retry` it keeps
    the job, so that is raised unless the end of the job was written.

    Args:
        dispatcher: runs the handlers of a job.
        namespace: of all names in Redis; the worker's queue is `NAMESPACE:queue`.
    """
    lease_seconds = max(LEASE_SECONDS, dispatcher.longest_run_seconds + 20)

    async def deliver(ctx: dict[str, Any], *not_ours: Any, **job_fields: Any) -> None:
        """Run the handlers of one event and settle it."""
        server, job_id = in_namespace(ctx["redis"], namespace), ctx["job_id"]
        claim = Claimed(job_id, token=secrets.token_hex(8), crashes=0, payload=None)
        written = False
        try:
            if await queue.lease(server, job_id, token=claim.token, lease_ms=round(lease_seconds * 1000)):
                settlement = await _settlement(server, dispatcher, claim, {} if not_ours else job_fields)
                written = not await queue.settle(server, [settlement], retention_ms=RETENTION_SECONDS * 1000)
        except asyncio.CancelledError:
            with suppress(*OUTAGES):
                await asyncio.shield(queue.release(server, [claim]))
        except Exception:
            logger.exception("job.failed", job_id=job_id)  # it is run again when its lease lapses
        if not written:
            raise arq.Retry

    return arq.func(deliver, name=FUNCTION_NAME, timeout=lease_seconds - 10, keep_result=0, max_tries=_NEVER)


async def _settlement(
    server: Server, dispatcher: Dispatcher, claim: Claimed, job_fields: Mapping[str, Any]
) -> Settlement:
    """Run the handlers of a job, and decide what follows; a job that is none of ours becomes a dead letter."""
    try:
        job = Job.from_kwargs(job_fields).queued_as(claim.job_id)
    except MalformedRecordError as fault:
        payload = await server.get(server.our_keys.job_key(claim.job_id))
        return unreadable_settlement(claim._replace(payload=payload), error=str(fault), now_ms=_now_ms())
    return settlement_of(claim, job, await dispatcher.dispatch(job), now_ms=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
