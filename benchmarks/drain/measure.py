"""Take one sample of one worker: a fresh store, a full queue, a fresh process, a look at the queue from outside.

The clock is outside of the process and the same for all: a light client asks every 10 ms how long the queue is. It runs
from the first look that finds something settled to the first that finds the queue empty, and only what was settled
between the two counts; so the start of the interpreter and of the worker is left out.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from benchmarks.drain import CONTENDERS
from benchmarks.drain.contender import Worker
from benchmarks.entry import Entry
from benchmarks.figures import PER_SECOND, Sample
from benchmarks.machine import busy_seconds
from benchmarks.processes import Measured, NotMeasuredError, running
from benchmarks.store import Store, fresh_store
from benchmarks.workload import bodies

EVENTS = 20_000
QUICK_EVENTS = 5_000
LOOK_SECONDS = 0.01
LONGEST_SECONDS = 120.0


def entries(*, quick: bool) -> list[Entry]:
    """The workers."""

    def entry(worker: Worker) -> Entry:
        own = worker.quick_events if quick else worker.events
        usual = QUICK_EVENTS if quick else EVENTS
        return Entry(
            "drain",
            worker.name,
            worker.note,
            str(worker.concurrency),
            PER_SECOND,
            partial(measure, worker, own or usual),
            target_ratio=worker.target_ratio,
            peer=worker.peer,
        )

    return [entry(worker) for worker in CONTENDERS]


async def measure(worker: Worker, events: int, folder: Path) -> Sample:
    """Events a second and CPU time of one worker process.

    Raises:
        NotMeasuredError: it takes too long, or not every event was settled well.
    """
    async with fresh_store(folder) as store:
        async with store.filling():
            await worker.fill(store, list(bodies(events)), folder)
        async with (
            asyncio.timeout(LONGEST_SECONDS),
            running(worker.command, worker.environment(store.url), folder) as process,
        ):
            sample = await _until_empty(worker, process, store, events)
            process.check_log()
        settled = None if worker.settled is None else await worker.settled(store.client)
    if settled not in {None, events}:
        raise NotMeasuredError(f"{events} events were queued, {settled} are settled well")
    return sample


async def _until_empty(worker: Worker, process: Measured, store: Store, events: int) -> Sample:
    while (left := await worker.left(store.client)) == events:
        process.check()
        await asyncio.sleep(LOOK_SECONDS)
    if left == 0:
        raise NotMeasuredError("all events were settled between two looks; give it more")
    before, busy_before, counted = time.perf_counter(), busy_seconds(), left
    cpu_before, store_cpu_before = process.cpu_seconds(), await store.cpu_seconds()
    while left:
        process.check()
        await asyncio.sleep(LOOK_SECONDS)
        left = await worker.left(store.client)
    seconds, busy = time.perf_counter() - before, busy_seconds() - busy_before
    cpu, store_cpu = process.cpu_seconds() - cpu_before, await store.cpu_seconds() - store_cpu_before
    per_1000 = 1000 / counted
    return Sample(
        count=events,
        value=counted / seconds,
        cpu_seconds_per_1000=cpu * per_1000,
        more={
            "store_cpu_seconds_per_1000": store_cpu * per_1000,
            "cores_busy_elsewhere": max(0.0, busy - cpu - store_cpu) / seconds,
        },
    )
