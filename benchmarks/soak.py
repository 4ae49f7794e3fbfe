"""`python -m benchmarks.soak`: do receiver and worker stay what they are under a load that does not end?

Receiver, worker (its handler does nothing) and Valkey, an even rate of POSTs, by default half of what the receiver can
take. Every 10 s we look at memory, open file descriptors and threads of both, at what the worker has in flight (each
such event is an asyncio task), at the spool and at the queue. In the end everything must be delivered, once.

What Valkey keeps of delivered events is kept for a minute only (`KONVOX_LOG_RETENTION_SECONDS`,
`KONVOX_DEDUPE_SECONDS`): hours of load would otherwise fill the machine's memory, and this is about our processes. The
access log is on, as by default: it takes about 250 bytes of disk a request until the end.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp

from benchmarks import machine, report
from benchmarks.entry import Entry
from benchmarks.figures import PERCENT, Bound, Sample
from benchmarks.flatness import Course, Reading
from benchmarks.generator import generator
from benchmarks.half_peak import PEAK_REQUESTS, peak_per_second
from benchmarks.processes import Measured, NotMeasuredError
from benchmarks.receive.measure import CONNECTIONS, WARM_UP_REQUESTS
from benchmarks.service import NAME, Service, all_delivered, check_account, read_metrics, service
from benchmarks.store import Store, fresh_store
from broker import keys

MINUTES = 20.0
RSS_GROWTH_PERCENT = 5.0
RETENTION_SECONDS = 60

_DELIVERED_SECONDS = 120.0
_SETTINGS = {
    "KONVOX_LOG_RETENTION_SECONDS": str(RETENTION_SECONDS),
    "KONVOX_DEDUPE_SECONDS": str(RETENTION_SECONDS),
}


def entry(*, course: Course, rate: float, readings: list[Reading]) -> Entry:
    """Ours alone; what is read goes to `readings`."""
    return Entry(
        "soak",
        NAME,
        f"growth of memory, the greater of the two, in {course.seconds / 60:g} min at an even {rate:,.0f}/s",
        str(CONNECTIONS),
        PERCENT,
        partial(measure, course=course, rate=rate, readings=readings),
        bounds=tuple(
            bound
            for role in ("receiver", "worker")
            for bound in (
                Bound(f"{role}_rss_growth_percent", f"{role}: memory", " %", most=RSS_GROWTH_PERCENT),
                Bound(f"{role}_open_files_growth", f"{role}: open files", "", most=0),
                Bound(f"{role}_threads_growth", f"{role}: threads", "", most=0),
            )
        ),
    )


async def measure(folder: Path, *, course: Course, rate: float, readings: list[Reading]) -> Sample:
    """By how many percent the memory of either grows; everything else that should not grow stands beside it.

    Raises:
        NotMeasuredError: a request was not answered with 200, or its event is not delivered.
    """
    requests = round(rate * course.seconds)
    async with (
        fresh_store(folder) as store,
        service(store.url, folder, **_SETTINGS) as ours,
        generator(
            "benchmarks.receive.open_loop",
            port=ours.port,
            connections=CONNECTIONS,
            requests=requests,
            warm_up=WARM_UP_REQUESTS,
            rate=rate,
        ) as load,
    ):
        started, busy = time.perf_counter(), -machine.busy_seconds()
        cpu, store_cpu = -ours.cpu_seconds(), -await store.cpu_seconds()
        async with load.going(longest_seconds=course.seconds + _DELIVERED_SECONDS) as answers:
            await _read(ours, store, course, readings, answers)
            outcome = await answers
        seconds, busy = time.perf_counter() - started, busy + machine.busy_seconds()
        cpu, store_cpu = cpu + ours.cpu_seconds(), store_cpu + await store.cpu_seconds()
        await all_delivered(ours, store.client, requests + WARM_UP_REQUESTS, seconds=_DELIVERED_SECONDS)
        await check_account(store.client, requests + WARM_UP_REQUESTS, retention_seconds=RETENTION_SECONDS)
    growth = _growth(course, readings)
    known = cpu + store_cpu + outcome["generator_cpu_seconds"]
    return Sample(
        requests,
        max(growth["receiver_rss_growth_percent"], growth["worker_rss_growth_percent"]),
        cpu_seconds_per_1000=cpu * 1000 / requests,
        more={
            **{name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")},
            **growth,
            "rate_per_second": rate,
            "most_queued": max(reading["queued"] for reading in readings),
            "cores_busy_elsewhere": max(0.0, busy - known) / seconds,
        },
    )


async def _read(
    ours: Service, store: Store, course: Course, readings: list[Reading], answers: asyncio.Task[dict[str, float]]
) -> None:
    """Read at even intervals as long as requests come, and say so to whoever waits."""
    started = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for at_seconds in course.moments():
            await asyncio.wait([answers], timeout=max(0.0, started + at_seconds - time.perf_counter()))
            if answers.done():
                return  # too early: it has failed
            ours.check()
            reading = {"seconds": time.perf_counter() - started, **await _reading(ours, store, session)}
            readings.append(reading)
            print(", ".join(f"{name} {value:,.1f}" for name, value in reading.items()), file=sys.stderr)


async def _reading(ours: Service, store: Store, session: aiohttp.ClientSession) -> Reading:
    receives = await read_metrics(session, ours.receiver_admin_port)
    works = await read_metrics(session, ours.worker_admin_port)
    return {
        **_of_process("receiver", ours.receiver),
        **_of_process("worker", ours.worker),
        "in_flight": works["konvox_worker_jobs_in_flight"],
        "spooled": receives["konvox_spool_events"],
        "queued": float(await store.client.zcard(keys.QUEUE)),
        "store_mib": await store.used_mib(),
    }


def _of_process(role: str, process: Measured) -> Reading:
    return {
        f"{role}_rss_mib": process.rss_mib(),
        f"{role}_open_files": process.open_files(),
        f"{role}_threads": process.threads(),
    }


def _growth(course: Course, readings: list[Reading]) -> dict[str, float]:
    growth: dict[str, float] = {}
    for role in ("receiver", "worker"):
        growth[f"{role}_rss_growth_percent"] = course.growth_percent(readings, f"{role}_rss_mib")
        for name in (f"{role}_open_files", f"{role}_threads"):
            growth[f"{name}_growth"] = course.growth(readings, name)
    return growth


async def run(*, minutes: float, rate: float | None) -> bool:
    """Measure, print and save. Returns whether every target is met.

    Raises:
        NotMeasuredError: it could not be measured.
    """
    report.RESULTS.mkdir(exist_ok=True)
    readings: list[Reading] = []
    with tempfile.TemporaryDirectory(dir=report.RESULTS, prefix="run-") as folder:
        async with fresh_store(Path(folder)) as store:
            circumstances = machine.describe(await store.version(), Path(folder), "")
        if rate is None:
            rate = await peak_per_second(Path(folder), requests=PEAK_REQUESTS) / 2
        ours = entry(course=Course.of(minutes * 60), rate=rate, readings=readings)
        row = report.Row(ours, [await ours.sample(Path(folder))], None)
    print(report.markdown(circumstances, [row], {}, rounds=1))
    stamp = datetime.now(UTC).strftime("soak-%Y%m%dT%H%M%SZ")
    print(f"\nAll readings: {report.save(circumstances, [row], {}, rounds=1, stamp=stamp, readings=readings)}")
    return row.meets_targets


def main() -> int:
    """Read the command line and run.

    Returns:
        0: done, and every target met; 1: not measured; 3: a target missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=_positive, default=MINUTES, help=f"how long; {MINUTES:g} by default")
    parser.add_argument("--rate", type=_positive, help="POSTs a second; half of the peak, measured first, by default")
    options = parser.parse_args()
    try:
        met = asyncio.run(run(minutes=options.minutes, rate=options.rate))
    except (NotMeasuredError, TimeoutError) as error:
        print(f"not measured: {error}".rstrip(": "), file=sys.stderr)
        return 1
    return 0 if met else 3


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
