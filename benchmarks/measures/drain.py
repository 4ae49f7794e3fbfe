"""Drain: how many queued events a second one worker process settles with a typed handler that does nothing.

A fresh store with 20,000 queued events (stock arq is slow: 1,000, tuned 5,000), a fresh worker. The clock is outside
and the same for all: a light client asks every 10 ms how long the queue is. It runs from the first look that finds
something settled to the first that finds the queue empty, and only what was settled between the two counts: the start
of the process is left out. Every event must be settled well. Target: 150, 12 and 2 times as many as stock arq, tuned
arq and BullMQ.
"""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness.figures import PER_SECOND, Contender, NotMeasuredError, Sample
from benchmarks.harness.store import fresh_store
from benchmarks.harness.system import Service, System, fill, service
from benchmarks.harness.workload import bodies
from benchmarks.peers import systems


def contenders(*, quick: bool) -> list[Contender]:
    usual, few = (5_000, 500) if quick else (20_000, 1_000)

    def row(system: System, name: str, note: str, target: float | None = None, events: int = usual) -> Contender:
        sample, concurrency = partial(measure, system, events), system.concurrency
        return Contender("drain", name, note, concurrency, PER_SECOND, sample, target_ratio=target, peer=system.peer)

    return [
        row(systems.OURS, "konvox-hooks worker", "outcome of each event and handler recorded"),
        row(systems.ARQ, "stock arq", "as it comes", 150.0, few),
        row(systems.ARQ_TUNED, "stock arq, tuned", "`max_jobs=100`, `poll_delay=0.01`", 12.0, 5_000),
        row(systems.BULLMQ, "BullMQ", "the event as parsed JSON, no model", 2.0),
        row(systems.DRAMATIQ, "Dramatiq", "threads; no outcome kept"),
        row(systems.TASKIQ, "taskiq", "Redis stream with acknowledgements; no outcome kept"),
    ]


async def measure(system: System, events: int, folder: Path, **settings: str) -> Sample:
    """Events a second and CPU time of one worker, with these environment variables beside its own."""
    async with fresh_store(folder) as store:
        async with store.filling():
            await fill(system, store, bodies(events), folder)
        async with asyncio.timeout(120), service(system, folder, "worker", store=store, settings=settings) as worker:
            sample = await _until_empty(system, worker, events)
            log = worker.processes["worker"].log()
        settled = None if system.settled is None else await system.settled(store.client)
    if "Traceback" in log:  # not every system counts its failures
        raise NotMeasuredError(f"something went wrong in it:\n{log[-2000:]}")
    if settled not in {None, events}:
        raise NotMeasuredError(f"{events} events were queued, {settled} are settled well")
    return sample


async def _until_empty(system: System, worker: Service, events: int) -> Sample:
    async def left() -> int:
        worker.check()
        await asyncio.sleep(0.01)
        assert system.left is not None
        return await system.left(worker.store.client)

    while (counted := await left()) == events:
        pass
    if counted == 0:
        raise NotMeasuredError("all events were settled between two looks; give it more")
    async with worker.metered() as usage:
        while await left():
            pass
    return replace(usage.sample(counted, counted / usage.clock), count=events)
