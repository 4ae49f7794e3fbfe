"""BullMQ's worker with an async handler that does nothing. It keeps the finished jobs, as it does by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from arq.connections import ArqRedis

from benchmarks.drain.contender import Worker
from benchmarks.peers.install import NODE_MODULES, node_program
from benchmarks.processes import run_to_end
from benchmarks.receive.bullmq import COMPLETED, PEER, WAITING
from benchmarks.store import Store

CONCURRENCY = 100
_ACTIVE = "bull:events:active"


def environment(store_url: str) -> Mapping[str, str]:
    """What its programs must be told."""
    return {
        "STORE_URL": store_url,
        "NODE_PATH": str(NODE_MODULES),
        "NODE_ENV": "production",
        "CONCURRENCY": str(CONCURRENCY),
    }


async def _fill(store: Store, bodies: Sequence[bytes], folder: Path) -> None:
    await run_to_end(node_program("bullmq_fill.cjs"), environment(store.url), folder, b"\n".join(bodies))


async def _left(server: ArqRedis) -> int:
    return int(await server.llen(WAITING)) + int(await server.llen(_ACTIVE))


async def _settled(server: ArqRedis) -> int:
    return int(await server.zcard(COMPLETED))


CONTENDER = Worker(
    "BullMQ",
    node_program("bullmq_worker.cjs"),
    environment,
    _fill,
    _left,
    _settled,
    CONCURRENCY,
    note="the event as parsed JSON, no model",
    target_ratio=2.0,
    peer=PEER,
)
