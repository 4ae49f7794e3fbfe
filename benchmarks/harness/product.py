"""The product as the benchmarks see it: commands, settings, metrics, ledger. All imports of its rooms are here."""

import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.harness.figures import NotMeasuredError
from benchmarks.harness.workload import SECRET, SIGNATURE_HEADER
from broker import queue
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.keys import Keys
from broker.ledger import read_ledger
from broker.records import Job, Record
from broker.redis.client import close, connect
from broker.redis.commands import Server
from broker.redis.embedded import embedded_server
from broker.redis.pipelined import PipelinedConnection
from konvox_hooks.config.settings import SPOOL
from receiver.spool import spooled_events

__all__ = ["PipelinedConnection", "close", "connect", "embedded_server"]

CLI_MODULE = "konvox_hooks"
CONCURRENCY = 100
"""Events that a worker has in flight; the default."""

WORKER_STARTED = "worker.started"
"""The log event."""

SPOOLED_METRIC = "konvox_spool_events"
IN_FLIGHT_METRIC = "konvox_worker_jobs_in_flight"
Client: TypeAlias = Server

_HANDLERS = Path(__file__).parent / "measured_handlers.py"
_BATCH = 500
_RECEIVED_AT_MS = 1_779_287_520_000
_LEASE_MS = 60_000


async def ask(client: Client, *arguments: str) -> Any:
    """The answer to one command."""
    return await client.execute_command(*arguments)


def environment(store_url: str, port: int) -> dict[str, str]:
    """The settings of receiver and worker: an HMAC, durable answers, handlers, and otherwise the defaults."""
    return {
        "KONVOX_REDIS_URL": store_url,
        "KONVOX_SIGNATURE": "hmac-sha256",
        "KONVOX_SIGNATURE_HEADER": SIGNATURE_HEADER,
        "KONVOX_SIGNING_SECRETS": SECRET,
        "KONVOX_DURABILITY": "fsync",
        "KONVOX_PORT": str(port),
        "KONVOX_HANDLERS": str(_HANDLERS),
        "KONVOX_LOG_FORMAT": "json",
    }


async def admit_bodies(client: Client, bodies: Iterable[bytes]) -> None:
    """Admit events in batches, as the receiver does."""
    policy, pending = AdmissionPolicy(), iter(bodies)
    while batch := list(islice(pending, _BATCH)):
        jobs = [Job.first(Record.capture(body, received_at_ms=_RECEIVED_AT_MS)) for body in batch]
        await admit(client, jobs, policy)


async def accepted(client: Client) -> int:
    """How many events the ledger counts as accepted."""
    return (await read_ledger(client)).accepted


async def delivered(client: Client) -> int:
    """How many deliveries the ledger counts as done."""
    return (await read_ledger(client)).delivered


async def queued(client: Client) -> int:
    """How many jobs are queued or in flight."""
    return int(await ask(client, "ZCARD", Keys().queue))


async def check_ledger(client: Client, events: int, *, retention_seconds: int = 604_800) -> None:
    """Raise NotMeasuredError unless so many events were accepted and delivered once, and all is accounted for."""
    ledger = await audit(client, retention_ms=retention_seconds * 1000)
    if not ledger.balanced or (ledger.accepted, ledger.delivered) != (events, events):
        raise NotMeasuredError(f"{events} were answered, and the ledger says {ledger}")


def spooled(data: Path) -> int:
    """How many events are in the spools on disk below a receiver's data folder."""
    return spooled_events(data / SPOOL).count


async def claim_ms(client: Client, pipe: PipelinedConnection, token: str) -> float:
    """How long a claim of 100 jobs takes, as a worker sees it. They are released again."""
    before = time.perf_counter()
    claims = await queue.claim(pipe, queue.ClaimRequest(CONCURRENCY, _LEASE_MS, token, suspect_wanted=False))
    seconds = time.perf_counter() - before
    await queue.release(client, claims.jobs)
    return seconds * 1000
