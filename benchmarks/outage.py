"""Outage: Valkey is killed, stays away for a minute, and is started again on its data, under an even load.

Nobody who sends may notice more than a slow answer, and once Valkey is back, all must be handled soon. The time counts
from when its process is started again: what it takes to load its data is part of it, and so are the requests that still
come for some seconds.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.entry import Entry
from benchmarks.figures import SECONDS, Bound, Sample
from benchmarks.generator import generator
from benchmarks.machine import busy_seconds
from benchmarks.service import NAME, all_delivered, check_account, service
from benchmarks.store import breakable_store

RATE = 500
CONNECTIONS = 64
WARM_UP_REQUESTS = 200
HANDLED_SECONDS = 30.0
SLOWEST_SECONDS = 3.0

_LONGEST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Course:
    """How long Valkey is there, away, and there again while requests come, in seconds."""

    before: float
    away: float
    after: float

    @property
    def requests(self) -> int:
        """How many come."""
        return round(RATE * (self.before + self.away + self.after))


COURSE = Course(before=5, away=60, after=5)
QUICK_COURSE = Course(before=1, away=5, after=2)


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    course = QUICK_COURSE if quick else COURSE
    return [
        Entry(
            "outage",
            NAME,
            f"from the return of Valkey after {course.away:g} s until all are handled, at {RATE}/s",
            str(CONNECTIONS),
            SECONDS,
            partial(measure, course=course),
            bounds=(
                Bound("value", "", " s", most=HANDLED_SECONDS),
                Bound("slowest_seconds", "slowest answer", " s", most=SLOWEST_SECONDS),
            ),
        )
    ]


async def measure(folder: Path, *, course: Course) -> Sample:
    """Seconds from the return until all are handled; the answers meanwhile stand beside it.

    Raises:
        NotMeasuredError: a request was not answered with 200, or its event is not delivered.
    """
    async with (
        breakable_store(folder) as breakable,
        service(breakable.store.url, folder) as ours,
        generator(
            "benchmarks.receive.open_loop",
            port=ours.port,
            connections=CONNECTIONS,
            requests=course.requests,
            warm_up=WARM_UP_REQUESTS,
            rate=RATE,
        ) as load,
    ):
        started, busy = time.perf_counter(), -busy_seconds()
        cpu, store_cpu = -ours.cpu_seconds(), -await breakable.cpu_seconds()
        async with load.going() as answers:
            await asyncio.sleep(course.before)
            await breakable.kill()
            await asyncio.sleep(course.away)
            returned = time.perf_counter()
            await breakable.start()
            loaded_seconds = time.perf_counter() - returned
            outcome = await answers
        sent, server = course.requests + WARM_UP_REQUESTS, breakable.store.client
        await all_delivered(ours, server, sent, seconds=_LONGEST_SECONDS)
        handled, busy = time.perf_counter(), busy + busy_seconds()
        cpu, store_cpu = cpu + ours.cpu_seconds(), store_cpu + await breakable.cpu_seconds()
        await check_account(server, sent)
    known = cpu + store_cpu + outcome["generator_cpu_seconds"]
    return Sample(
        course.requests,
        handled - returned,
        cpu_seconds_per_1000=cpu * 1000 / course.requests,
        more={
            **{name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")},
            "slowest_seconds": outcome["max_ms"] / 1000,
            "loaded_seconds": loaded_seconds,
            "cores_busy_elsewhere": max(0.0, busy - known) / (handled - started),
        },
    )
