"""Spooling: how fast the receiver answers while Valkey is away, and how soon its spool is empty once Valkey is back.

Two entries, each with a sample of its own: the rate, for which every event must be found in the spool on disk; and the
draining, while live requests come at an even rate and a worker runs, until every event is delivered.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from benchmarks.entry import Entry
from benchmarks.figures import PER_SECOND, SECONDS, Bound, Sample
from benchmarks.generator import generator
from benchmarks.machine import busy_seconds
from benchmarks.processes import NotMeasuredError, until
from benchmarks.receive.konvox_hooks import CONTENDER
from benchmarks.receive.measure import CONNECTIONS
from benchmarks.service import Service, all_delivered, check_account, read_metrics, service
from benchmarks.store import BreakableStore, breakable_store
from receiver.spool import spooled_events

EVENTS = 100_000
QUICK_EVENTS = 5_000
LEAST_PER_SECOND = 5_000
LIVE_RATE = 500
DRAINED_SECONDS = 60.0
LIVE_P99_MS = 100.0

_WARM_UP_REQUESTS = 200
_LONGEST_SECONDS = 180.0
_LOOK_SECONDS = 0.1


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone: they are not compared with each other."""
    events = QUICK_EVENTS if quick else EVENTS
    return [
        Entry(
            "spooling",
            CONTENDER.name,
            "POSTs answered while Valkey is away",
            str(CONNECTIONS),
            PER_SECOND,
            partial(measure_rate, events=events),
            bounds=(Bound("value", "", "/s", least=LEAST_PER_SECOND),),
        ),
        Entry(
            "spooling",
            f"{CONTENDER.name}, draining",
            f"from the return of Valkey until the spool is empty, with a worker and {LIVE_RATE} live POSTs/s",
            str(CONNECTIONS),
            SECONDS,
            partial(measure_draining, events=events),
            bounds=(
                Bound("value", "", " s", most=DRAINED_SECONDS),
                Bound("p99_ms", "p99 of the live answers", " ms", most=LIVE_P99_MS),
            ),
        ),
    ]


async def measure_rate(folder: Path, *, events: int) -> Sample:
    """POSTs answered a second, while Valkey is away.

    Raises:
        NotMeasuredError: a request was not answered with 200, or not every event is in the spool.
    """
    async with _without_store(folder) as (_, ours):
        sample = await _spool(ours, events)
        in_spool = spooled_events(ours.spool).count
    if in_spool != events + _WARM_UP_REQUESTS:
        raise NotMeasuredError(f"{events + _WARM_UP_REQUESTS} were answered, {in_spool} are in the spool")
    return sample


async def measure_draining(folder: Path, *, events: int) -> Sample:
    """Seconds from the return of Valkey until the spool is empty; the live answers meanwhile stand beside it.

    Raises:
        NotMeasuredError: a request was not answered with 200, or its event is not delivered.
    """
    async with _without_store(folder) as (breakable, ours):
        await _spool(ours, events)
        async with generator(
            "benchmarks.receive.open_loop",
            port=ours.port,
            connections=CONNECTIONS,
            requests=round(LIVE_RATE * _LONGEST_SECONDS),
            warm_up=_WARM_UP_REQUESTS,
            rate=LIVE_RATE,
            series="live",
        ) as load:
            returned, busy, cpu = time.perf_counter(), -busy_seconds(), -ours.cpu_seconds()
            store_cpu = -await breakable.cpu_seconds()
            async with load.going(longest_seconds=2 * _LONGEST_SECONDS) as answers:
                await breakable.start()
                loaded_seconds = time.perf_counter() - returned
                await _drained(ours)
                seconds = time.perf_counter() - returned
                load.enough()
                outcome = await answers
            busy += busy_seconds()
            cpu, store_cpu = cpu + ours.cpu_seconds(), store_cpu + await breakable.cpu_seconds()
        sent = events + int(outcome["answered"]) + 2 * _WARM_UP_REQUESTS
        await all_delivered(ours, breakable.store.client, sent, seconds=_LONGEST_SECONDS)
        handled_seconds = time.perf_counter() - returned
        await check_account(breakable.store.client, sent)
    return Sample(
        events,
        seconds,
        more={
            **{name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")},
            "live_requests": outcome["answered"],
            "loaded_seconds": loaded_seconds,
            "handled_seconds": handled_seconds,
            "cores_busy_elsewhere": max(0.0, busy - cpu - store_cpu - outcome["generator_cpu_seconds"]) / seconds,
        },
    )


@asynccontextmanager
async def _without_store(folder: Path) -> AsyncIterator[tuple[BreakableStore, Service]]:
    """Ours, around a Valkey that has just been killed."""
    async with breakable_store(folder) as breakable, service(breakable.store.url, folder) as ours:
        await breakable.kill()
        yield breakable, ours


async def _spool(ours: Service, events: int) -> Sample:
    """So many POSTs, while Valkey is away; those to warm up have made the receiver notice that it is."""
    async with generator(
        "benchmarks.receive.load",
        port=ours.port,
        connections=CONNECTIONS,
        requests=events,
        warm_up=_WARM_UP_REQUESTS,
    ) as load:
        busy, cpu, worker_cpu = -busy_seconds(), -ours.receiver.cpu_seconds(), -ours.worker.cpu_seconds()
        outcome = await load.go()
        busy, cpu = busy + busy_seconds(), cpu + ours.receiver.cpu_seconds()
        known = cpu + worker_cpu + ours.worker.cpu_seconds() + outcome["generator_cpu_seconds"]
    ours.check()
    return Sample(
        events,
        events / outcome["seconds"],
        cpu_seconds_per_1000=cpu * 1000 / events,
        more={
            **{name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")},
            "cores_busy_elsewhere": max(0.0, busy - known) / outcome["seconds"],
        },
    )


async def _drained(ours: Service) -> None:
    async with aiohttp.ClientSession() as session:

        async def empty() -> bool:
            """Whether nothing waits in the spool any more."""
            ours.check()
            return (await read_metrics(session, ours.receiver_admin_port))["konvox_spool_events"] == 0

        await until(empty, seconds=_LONGEST_SECONDS, look_seconds=_LOOK_SECONDS)
