"""Burst: 50,000 events at once into an idle service. Each is answered with 200, and all are handled.

All are due when the clock starts, so that the slowest answer counts from there: it is the time until the last one.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from benchmarks.entry import Entry
from benchmarks.figures import SECONDS, Bound, Sample
from benchmarks.generator import generator
from benchmarks.machine import busy_seconds
from benchmarks.service import NAME, all_delivered, check_account, service
from benchmarks.store import fresh_store

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
            NAME,
            "slowest answer, counted from the start of the burst",
            str(CONNECTIONS),
            SECONDS,
            partial(measure, events=QUICK_EVENTS if quick else EVENTS),
            bounds=(Bound("value", "", " s", most=SLOWEST_SECONDS),),
        )
    ]


async def measure(folder: Path, *, events: int) -> Sample:
    """Seconds until the last answer; how long until all were handled stands beside it."""
    async with (
        fresh_store(folder) as store,
        service(store.url, folder) as ours,
        generator(
            "benchmarks.receive.load", port=ours.port, connections=CONNECTIONS, requests=events, warm_up=0
        ) as load,
    ):
        cpu = -ours.cpu_seconds()
        started, busy, store_cpu = time.perf_counter(), -busy_seconds(), -await store.cpu_seconds()
        outcome = await load.go()
        await all_delivered(ours, store.client, events, seconds=_LONGEST_SECONDS)
        handled_seconds, busy = time.perf_counter() - started, busy + busy_seconds()
        cpu += ours.cpu_seconds()
        store_cpu += await store.cpu_seconds()
        await check_account(store.client, events)
        known = cpu + store_cpu + outcome["generator_cpu_seconds"]
    more = {name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")}
    return Sample(
        events,
        outcome["seconds"],
        cpu_seconds_per_1000=cpu * 1000 / events,
        more={
            **more,
            "handled_seconds": handled_seconds,
            "store_cpu_seconds_per_1000": store_cpu * 1000 / events,
            "cores_busy_elsewhere": max(0.0, busy - known) / handled_seconds,
        },
    )
