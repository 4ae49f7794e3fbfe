"""Take one sample of one receiver: a fresh store, a fresh process, one load."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.entry import Entry
from benchmarks.figures import PER_SECOND, Sample
from benchmarks.generator import generator
from benchmarks.machine import busy_seconds
from benchmarks.processes import Measured, NotMeasuredError, free_port, running
from benchmarks.receive import CONTENDERS
from benchmarks.receive.contender import Receiver
from benchmarks.store import Store, fresh_store

CONNECTIONS = 64
REQUESTS = 30_000
QUICK_REQUESTS = 6_000
WARM_UP_REQUESTS = 2_000


def entries(*, quick: bool) -> list[Entry]:
    """The receivers."""
    requests = QUICK_REQUESTS if quick else REQUESTS
    return [
        Entry(
            "receive",
            receiver.name,
            receiver.note,
            str(CONNECTIONS),
            PER_SECOND,
            partial(measure, receiver, requests),
            target_ratio=receiver.target_ratio,
            peer=receiver.peer,
        )
        for receiver in CONTENDERS
    ]


async def measure(receiver: Receiver, requests: int, folder: Path, *, padding_bytes: int = 0) -> Sample:
    """POSTs a second, latency and CPU time of one receiver.

    Raises:
        NotMeasuredError: not every request was answered with 200, or not every event is in the store.
    """
    async with fresh_store(folder) as store:
        port = free_port()
        async with running(receiver.command, receiver.environment(port, store.url), folder) as process:
            await process.listening(port)
            sample = await _under_load(process, store, port, requests, padding_bytes)
            stored = None if receiver.stored is None else await receiver.stored(store.client)
    if stored not in {None, requests + WARM_UP_REQUESTS}:
        raise NotMeasuredError(f"{requests + WARM_UP_REQUESTS} were answered, {stored} are stored")
    return sample


async def _under_load(process: Measured, store: Store, port: int, requests: int, padding_bytes: int) -> Sample:
    async with generator(
        "benchmarks.receive.load",
        port=port,
        connections=CONNECTIONS,
        requests=requests,
        warm_up=WARM_UP_REQUESTS,
        padding_bytes=padding_bytes,
    ) as load:
        busy_before = busy_seconds()
        cpu_before, store_cpu_before = process.cpu_seconds(), await store.cpu_seconds()
        outcome = await load.go()
        cpu, store_cpu = process.cpu_seconds() - cpu_before, await store.cpu_seconds() - store_cpu_before
        busy = busy_seconds() - busy_before
    process.check()
    per_1000 = 1000 / requests
    return Sample(
        count=requests,
        value=requests / outcome["seconds"],
        cpu_seconds_per_1000=cpu * per_1000,
        more={
            "p50_ms": outcome["p50_ms"],
            "p99_ms": outcome["p99_ms"],
            "max_ms": outcome["max_ms"],
            "store_cpu_seconds_per_1000": store_cpu * per_1000,
            "generator_cpu_seconds_per_1000": outcome["generator_cpu_seconds"] * per_1000,
            "cores_busy_elsewhere": max(0.0, busy - cpu - store_cpu - outcome["generator_cpu_seconds"])
            / outcome["seconds"],
        },
    )
