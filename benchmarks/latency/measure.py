"""Take one sample of one service: a receiver and a worker around a fresh store, and POSTs at an even rate.

Sender and handlers read the same clock. Before the clock starts, some events have gone all the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.drain import bullmq as bullmq_worker
from benchmarks.drain import konvox_hooks as our_worker
from benchmarks.entry import Entry
from benchmarks.figures import MILLISECONDS, Bound, Sample, percentile
from benchmarks.generator import generator
from benchmarks.machine import busy_seconds
from benchmarks.marks import read_marks
from benchmarks.peers.install import python_of
from benchmarks.processes import Measured, NotMeasuredError, free_port, python, running, until
from benchmarks.receive import aiohttp_arq, bullmq, contender, konvox_hooks
from benchmarks.store import fresh_store

RATE = 200
CONNECTIONS = 16
SECONDS = 10
QUICK_SECONDS = 2
WARM_UP_REQUESTS = 200
P99_MS = 3.0

_WARM_UP_SECONDS = 30.0
_ARRIVE_SECONDS = 60.0

Environment = Callable[[int, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Service:
    """A receiver and a worker.

    Attributes:
        name: for the table.
        receiver: the command.
        worker: likewise.
        environment: of both: given the port to listen on and the store's URL.
        worker_concurrency: how many events the worker has in flight at most.
        note: what is particular about it, for the table.
        target_ratio: how many times as fast as this one we are to be, if there is a target.
        peer: what must be installed for it.
    """

    name: str
    receiver: tuple[str, ...]
    worker: tuple[str, ...]
    environment: Environment
    worker_concurrency: int
    note: str = ""
    target_ratio: float | None = None
    peer: str | None = None


def _our_environment(port: int, store_url: str) -> Mapping[str, str]:
    worker = our_worker.environment(store_url, Path(__file__).parent / "marking_handlers.py")
    return {**worker, **konvox_hooks.environment(port, store_url)}


def _bullmq_environment(port: int, store_url: str) -> Mapping[str, str]:
    return {**bullmq_worker.environment(store_url), **bullmq.environment(port, store_url)}


def _in_python(name: str, peer: str) -> Service:
    command = (python_of(peer), "-m", f"benchmarks.peers.{peer}_app")
    return Service(
        name,
        (*command, "receive"),
        (*command, "work"),
        contender.environment,
        worker_concurrency=100,
        note="behind aiohttp",
        peer=peer,
    )


SERVICES = (
    Service(
        "konvox-hooks receiver and worker",
        konvox_hooks.CONTENDER.command,
        our_worker.CONTENDER.command,
        _our_environment,
        our_worker.CONCURRENCY,
    ),
    Service(
        "aiohttp + stock arq",
        aiohttp_arq.CONTENDER.command,
        python("benchmarks.latency.arq_worker"),
        contender.environment,
        worker_concurrency=10,
        note="as it comes",
    ),
    Service(
        "Fastify + BullMQ",
        bullmq.CONTENDER.command,
        bullmq_worker.CONTENDER.command,
        _bullmq_environment,
        bullmq_worker.CONCURRENCY,
        target_ratio=1.0,
        peer=bullmq.PEER,
    ),
    _in_python("SAQ", "saq"),
    _in_python("streaQ", "streaq"),
)


def entries(*, quick: bool) -> list[Entry]:
    """The services; ours is to have a p50 no longer than BullMQ's."""
    return [
        Entry(
            "latency",
            service.name,
            service.note,
            str(service.worker_concurrency),
            MILLISECONDS,
            partial(measure, service, RATE * (QUICK_SECONDS if quick else SECONDS)),
            target_ratio=service.target_ratio,
            bounds=() if position else (Bound("p99_ms", "p99", " ms", most=P99_MS),),
            peer=service.peer,
        )
        for position, service in enumerate(SERVICES)
    ]


async def measure(service: Service, requests: int, folder: Path) -> Sample:
    """The median from POST to handler; p99 and the longest beside it.

    Raises:
        NotMeasuredError: not every event was handled, and just once.
    """
    marks, sent = folder / "marks", folder / "sent"
    marks.unlink(missing_ok=True)
    async with fresh_store(folder) as store, AsyncExitStack() as stack:
        port = free_port()
        environment = {**service.environment(port, store.url), "MARKS": str(marks)}
        receiver = await stack.enter_async_context(running(service.receiver, environment, folder))
        worker = await stack.enter_async_context(running(service.worker, environment, folder))
        await receiver.listening(port)
        load = await stack.enter_async_context(
            generator(
                "benchmarks.receive.open_loop",
                port=port,
                connections=CONNECTIONS,
                requests=requests,
                warm_up=WARM_UP_REQUESTS,
                rate=RATE,
                sent=sent,
            )
        )
        await _handled(marks, WARM_UP_REQUESTS, worker, seconds=_WARM_UP_SECONDS)
        busy_before, cpu_before = busy_seconds(), receiver.cpu_seconds() + worker.cpu_seconds()
        store_before = await store.cpu_seconds()
        outcome = await load.go()
        cpu = receiver.cpu_seconds() + worker.cpu_seconds() - cpu_before
        ours = cpu + await store.cpu_seconds() - store_before + outcome["generator_cpu_seconds"]
        busy = busy_seconds() - busy_before
        await _handled(marks, WARM_UP_REQUESTS + requests, worker, seconds=_ARRIVE_SECONDS)
    latencies_ms = _latencies_ms(sent, marks)
    return Sample(
        count=requests,
        value=percentile(latencies_ms, 50),
        cpu_seconds_per_1000=cpu * 1000 / requests,
        more={
            "p50_ms": percentile(latencies_ms, 50),
            "p99_ms": percentile(latencies_ms, 99),
            "max_ms": latencies_ms[-1],
            "answer_p99_ms": outcome["p99_ms"],
            "cores_busy_elsewhere": max(0.0, busy - ours) * RATE / requests,
        },
    )


async def _handled(marks: Path, count: int, worker: Measured, *, seconds: float) -> None:
    async def handled() -> bool:
        """Whether so many have been."""
        worker.check()
        return len(read_marks(marks)) >= count

    await until(handled, seconds=seconds)


def _latencies_ms(sent: Path, marks: Path) -> list[float]:
    started = read_marks(marks)
    latencies = []
    for contact_id, sent_ns in read_marks(sent).items():
        if len(started[contact_id]) != 1:
            raise NotMeasuredError(f"the handler of one event ran {len(started[contact_id])} times")
        latencies.append((started[contact_id][0] - sent_ns[0]) / 1e6)
    return sorted(latencies)
