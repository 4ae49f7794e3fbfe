"""Ours: `konvox-hooks worker`, the real process with its defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from arq.connections import ArqRedis

from benchmarks.drain.contender import Worker
from benchmarks.processes import python
from benchmarks.store import Store
from benchmarks.workload import batches
from broker import keys
from broker.admission import AdmissionPolicy, admit
from broker.ledger import read_ledger
from broker.records import Job, Record

CONCURRENCY = 100
"""The default."""

NOOP_HANDLERS = Path(__file__).parent / "noop_handlers.py"
_BATCH = 500


def environment(store_url: str, handlers: Path = NOOP_HANDLERS) -> Mapping[str, str]:
    """Handlers, and otherwise the defaults."""
    return {
        "KONVOX_REDIS_URL": store_url,
        "KONVOX_HANDLERS": str(handlers),
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
    }


async def fill(store: Store, bodies: Iterable[bytes], folder: Path) -> None:
    """Admit them, as the receiver does."""
    del folder
    policy = AdmissionPolicy()
    for batch in batches(bodies, _BATCH):
        jobs = [Job.first(Record.capture(body, received_at_ms=1_779_287_520_000)) for body in batch]
        await admit(store.client, jobs, policy)


async def left(server: ArqRedis) -> int:
    """How many are queued or in hand."""
    return int(await server.zcard(keys.QUEUE))


async def settled(server: ArqRedis) -> int:
    """How many are delivered, by the ledger."""
    return (await read_ledger(server)).delivered


CONTENDER = Worker(
    "konvox-hooks worker",
    python("konvox_hooks", "worker"),
    environment,
    fill,
    left,
    settled,
    CONCURRENCY,
    note="outcome of each event and handler recorded",
)
