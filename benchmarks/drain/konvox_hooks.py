"""Ours: `konvox-hooks worker`, the real process with its defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arq.connections import ArqRedis

from benchmarks.drain.contender import Worker
from benchmarks.processes import ROOT, python
from broker import keys
from broker.admission import AdmissionPolicy, admit
from broker.ledger import read_ledger
from broker.records import Job, Record

CONCURRENCY = 100
_BATCH = 500


def _environment(store_url: str) -> Mapping[str, str]:
    return {
        "KONVOX_REDIS_URL": store_url,
        "KONVOX_HANDLERS": str(ROOT / "benchmarks" / "drain" / "noop_handlers.py"),
        "KONVOX_CONCURRENCY": str(CONCURRENCY),
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
    }


async def _fill(server: ArqRedis, bodies: Sequence[bytes]) -> None:
    jobs = [Job.first(Record.capture(body, received_at_ms=1_779_287_520_000)) for body in bodies]
    for first in range(0, len(jobs), _BATCH):
        await admit(server, jobs[first : first + _BATCH], AdmissionPolicy())


async def _left(server: ArqRedis) -> int:
    return int(await server.zcard(keys.QUEUE))


async def _settled(server: ArqRedis) -> int:
    return (await read_ledger(server)).delivered


CONTENDER = Worker(
    "konvox-hooks worker",
    python("console.cli", "worker"),
    _environment,
    _fill,
    _left,
    _settled,
    CONCURRENCY,
    note="outcome of each event and handler recorded",
)
