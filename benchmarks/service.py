"""Ours as a whole: a receiver and a worker around a store, and the account of what became of the events."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from arq.connections import ArqRedis

from benchmarks.drain import konvox_hooks as our_worker
from benchmarks.processes import Measured, NotMeasuredError, free_port, running, until
from benchmarks.receive import konvox_hooks as our_receiver
from broker.audit import audit
from broker.ledger import read_ledger
from konvox_hooks.service.receiver import SPOOL

NAME = "konvox-hooks receiver and worker"
RETENTION_SECONDS = 604_800
"""The default."""


@dataclass(frozen=True, slots=True)
class Service:
    """A receiver that listens, and a worker that has started; its handler does nothing.

    Attributes:
        port: where the receiver listens.
        receiver_admin_port: where it tells its metrics.
        worker_admin_port: where the worker does.
        receiver: the process.
        worker: likewise.
        spool: the receiver's.
    """

    port: int
    receiver_admin_port: int
    worker_admin_port: int
    receiver: Measured
    worker: Measured
    spool: Path

    def check(self) -> None:
        """Raise NotMeasuredError if one of them has ended."""
        self.receiver.check()
        self.worker.check()

    def cpu_seconds(self) -> float:
        """The CPU time that both have used."""
        return self.receiver.cpu_seconds() + self.worker.cpu_seconds()


@asynccontextmanager
async def service(store_url: str, folder: Path, **settings: str) -> AsyncIterator[Service]:
    """Run both, with these settings and otherwise the defaults, and a data folder of their own."""
    port, receiver_admin_port, worker_admin_port = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory(dir=folder, prefix="data-") as data:

        def environment(usual: Mapping[str, str], admin_port: int) -> dict[str, str]:
            return {**usual, "KONVOX_DATA_DIR": data, "KONVOX_ADMIN_PORT": str(admin_port), **settings}

        receives = environment(our_receiver.environment(port, store_url), receiver_admin_port)
        works = environment(our_worker.environment(store_url), worker_admin_port)
        async with (
            running(our_receiver.CONTENDER.command, receives, folder) as receiver,
            running(our_worker.CONTENDER.command, works, folder) as worker,
        ):
            await receiver.listening(port)
            await worker.has_logged("worker.started")
            yield Service(port, receiver_admin_port, worker_admin_port, receiver, worker, Path(data) / SPOOL)


async def all_delivered(ours: Service, server: ArqRedis, events: int, *, seconds: float) -> None:
    """Wait until so many are delivered, by the ledger.

    Raises:
        NotMeasuredError: they are not in this time.
    """

    async def delivered() -> bool:
        """Whether they are."""
        ours.check()
        return (await read_ledger(server)).delivered >= events

    await until(delivered, seconds=seconds)


async def check_account(server: ArqRedis, events: int, *, retention_seconds: int = RETENTION_SECONDS) -> None:
    """Make sure that so many were accepted and delivered, each of them once, and that nothing else became of any.

    Raises:
        NotMeasuredError: it is not so, or the ledger does not balance.
    """
    ledger = await audit(server, retention_ms=retention_seconds * 1000)
    if not ledger.balanced or (ledger.accepted, ledger.delivered) != (events, events):
        raise NotMeasuredError(f"{events} were answered, and the ledger says {ledger}")


async def read_metrics(session: aiohttp.ClientSession, admin_port: int) -> dict[str, float]:
    """What a process tells of itself."""
    async with session.get(f"http://127.0.0.1:{admin_port}/metrics") as answer:
        return metrics(await answer.text())


def metrics(text: str) -> dict[str, float]:
    """What an admin listener tells at `/metrics`, by name."""
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}
