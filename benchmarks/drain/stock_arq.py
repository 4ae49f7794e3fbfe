"""Stock arq: its own worker, as it comes and tuned, with a function that validates the same model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import arq
from arq.connections import ArqRedis
from arq.constants import default_queue_name, job_key_prefix, result_key_prefix
from arq.jobs import serialize_job

from benchmarks.drain.contender import Worker
from benchmarks.processes import python
from benchmarks.store import Store, arq_settings
from konvox.events import ContactReplied

_ENQUEUED_AT_MS = 1_779_287_520_000
_EXPIRES_MS = 86_400_000
_BATCH = 500
_RESULTS_PAGE = 5_000


async def deliver(ctx: dict[str, Any], body: bytes) -> None:
    """Do nothing with a typed event."""
    del ctx
    ContactReplied.model_validate_json(body)


def main() -> None:
    """Work until SIGTERM. TUNED=1 asks for the tuned worker."""
    tuned: dict[str, Any] = {"max_jobs": 100, "poll_delay": 0.01} if os.environ.get("TUNED") else {}
    arq.Worker(functions=[deliver], redis_settings=arq_settings(os.environ["STORE_URL"]), **tuned).run()


async def _fill(store: Store, bodies: Sequence[bytes], folder: Path) -> None:
    """Leave the store as `enqueue_job` would for each body, but in a second instead of ten."""
    del folder
    for first in range(0, len(bodies), _BATCH):
        pipeline = store.client.pipeline(transaction=False)
        for number, body in enumerate(bodies[first : first + _BATCH], start=first):
            job = serialize_job("deliver", (body,), {}, None, _ENQUEUED_AT_MS)
            pipeline.psetex(f"{job_key_prefix}{number:032x}", _EXPIRES_MS, job)
            pipeline.zadd(default_queue_name, {f"{number:032x}": _ENQUEUED_AT_MS})
        await pipeline.execute()


async def _left(server: ArqRedis) -> int:
    return int(await server.zcard(default_queue_name))


async def _settled(server: ArqRedis) -> int:
    """The results that arq keeps for an hour."""
    pattern = result_key_prefix + "*"
    return len({key async for key in server.scan_iter(match=pattern, count=_RESULTS_PAGE)})


def _worker(name: str, *, tuned: str, **more: Any) -> Worker:
    def environment(store_url: str) -> Mapping[str, str]:
        return {"STORE_URL": store_url, "TUNED": tuned}

    return Worker(name, python("benchmarks.drain.stock_arq"), environment, _fill, _left, _settled, **more)


AS_IT_COMES = _worker(
    "stock arq", tuned="", concurrency=10, events=1_000, quick_events=500, note="as it comes", target_ratio=150.0
)
TUNED = _worker(
    "stock arq, tuned",
    tuned="1",
    concurrency=100,
    events=5_000,
    note="`max_jobs=100`, `poll_delay=0.01`",
    target_ratio=12.0,
)

if __name__ == "__main__":
    main()
