"""Burst: 50,000 events at once into an idle service. Each is answered with 200, and all are handled.

All are due when the clock starts, so that the slowest answer counts from there: it is the time until the last one.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from benchmarks.drain import konvox_hooks as our_worker
from benchmarks.entry import Entry
from benchmarks.figures import SECONDS, Bound, Sample
from benchmarks.generator import generator
from benchmarks.machine import busy_seconds
from benchmarks.processes import free_port, running, until
from benchmarks.receive import konvox_hooks as our_receiver
from benchmarks.store import Store, fresh_store

EVENTS = 50_000
QUICK_EVENTS = 5_000
CONNECTIONS = 500
SLOWEST_SECONDS = 5.0

_LONGEST_SECONDS = 60.0


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    return [
        Entry(
            "burst",
            "konvox-hooks receiver and worker",
            "slowest answer, counted from the start of the burst",
            str(CONNECTIONS),
            SECONDS,
            partial(measure, events=QUICK_EVENTS if quick else EVENTS),
            bounds=(Bound("value", "", " s", most=SLOWEST_SECONDS),),
        )
    ]


async def measure(folder: Path, *, events: int) -> Sample:
    """Seconds until the last answer; how long until all were handled stands beside it."""
    async with fresh_store(folder) as store:
        port = free_port()
        async with (
            running(our_receiver.CONTENDER.command, our_receiver.environment(port, store.url), folder) as receiver,
            running(our_worker.CONTENDER.command, our_worker.environment(store.url), folder) as worker,
        ):
            await receiver.listening(port)
            await worker.has_logged("worker.started")
            async with generator(
                "benchmarks.receive.load", port=port, connections=CONNECTIONS, requests=events, warm_up=0
            ) as load:
                cpu = -receiver.cpu_seconds() - worker.cpu_seconds()
                started, busy, store_cpu = time.perf_counter(), -busy_seconds(), -await store.cpu_seconds()
                outcome = await load.go()
                await _all_handled(store, events)
                handled_seconds, busy = time.perf_counter() - started, busy + busy_seconds()
                cpu += receiver.cpu_seconds() + worker.cpu_seconds()
                store_cpu += await store.cpu_seconds()
                ours = cpu + store_cpu + outcome["generator_cpu_seconds"]
    more = {name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")}
    return Sample(
        events,
        outcome["seconds"],
        cpu_seconds_per_1000=cpu * 1000 / events,
        more={
            **more,
            "handled_seconds": handled_seconds,
            "store_cpu_seconds_per_1000": store_cpu * 1000 / events,
            "cores_busy_elsewhere": max(0.0, busy - ours) / handled_seconds,
        },
    )


async def _all_handled(store: Store, events: int) -> None:
    async def all_handled() -> bool:
        """Whether they are delivered, by the ledger."""
        return await our_worker.settled(store.client) == events

    await until(all_handled, seconds=_LONGEST_SECONDS)
