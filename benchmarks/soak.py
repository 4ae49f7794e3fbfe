"""`python -m benchmarks.soak`: do receiver and worker keep their size under a load that does not end?

Receiver, worker (its handler does nothing) and Valkey, an even rate of POSTs, by default half of what the receiver can
take. Every 10 s we read memory, open file descriptors and threads of both, what the worker has in flight (each such
event is an asyncio task), the spool and the queue. In the end everything must be delivered, once. Targets: memory grows
by 5 % at most, open files and threads not at all.

What Valkey keeps of delivered events is kept for a minute only: hours of load would otherwise fill the machine's
memory, and this is about our processes. The access log is on, as by default: about 250 bytes of disk a request.
"""

import argparse
import asyncio
import math
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.environment import describe
from benchmarks.harness.figures import PERCENT, Bound, Contender, NotMeasuredError, Sample
from benchmarks.harness.flatness import Course, Reading
from benchmarks.harness.report import Report, Row, run_folder
from benchmarks.harness.system import CONNECTIONS, Load, Service, service
from benchmarks.measures.half_peak import peak_per_second
from benchmarks.measures.receive import WARM_UP_REQUESTS
from benchmarks.peers.systems import OURS

_MINUTES = 20.0
_RETENTION_SECONDS = 60


def contender(*, course: Course, rate: float, readings: list[Reading]) -> Contender:
    """Ours alone; what is read goes to `readings`."""
    bounds: list[Bound] = []
    for role in ("receiver", "worker"):
        bounds += [
            Bound(f"{role}_rss_growth_percent", f"{role}: memory", " %", most=5.0),
            Bound(f"{role}_open_files_growth", f"{role}: open files", "", most=0),
            Bound(f"{role}_threads_growth", f"{role}: threads", "", most=0),
        ]
    name = "konvox-hooks receiver and worker"
    note = f"growth of memory, the greater of the two, in {course.seconds / 60:g} min at an even {rate:,.0f}/s"
    sample = partial(measure, course=course, rate=rate, readings=readings)
    return Contender("soak", name, note, CONNECTIONS, PERCENT, sample, tuple(bounds))


async def measure(folder: Path, *, course: Course, rate: float, readings: list[Reading]) -> Sample:
    """By how many percent the memory of either grows; everything else that should not grow stands beside it."""
    requests, kept = round(rate * course.seconds), str(_RETENTION_SECONDS)
    async with (
        service(OURS, folder, settings={"KONVOX_LOG_RETENTION_SECONDS": kept, "KONVOX_DEDUPE_SECONDS": kept}) as ours,
        ours.load(requests=requests, warm_up=WARM_UP_REQUESTS, rate=rate) as sending,
    ):
        async with ours.metered() as usage:
            sending.start()
            await _read(ours, sending, course, readings)
            outcome = await sending.outcome()
        sent = requests + WARM_UP_REQUESTS
        await ours.all_delivered(sent)
        await product.check_ledger(ours.store.client, sent, retention_seconds=_RETENTION_SECONDS)
    growth: dict[str, float] = {}
    for role in ours.processes:
        growth[f"{role}_rss_growth_percent"] = course.growth_percent(readings, f"{role}_rss_mib")
        growth[f"{role}_open_files_growth"] = course.growth(readings, f"{role}_open_files")
        growth[f"{role}_threads_growth"] = course.growth(readings, f"{role}_threads")
    value = max(growth["receiver_rss_growth_percent"], growth["worker_rss_growth_percent"])
    more = {**growth, "rate_per_second": rate, "most_queued": max(reading["queued"] for reading in readings)}
    return usage.sample(requests, value, outcome, **more)


async def _read(ours: Service, sending: Load, course: Course, readings: list[Reading]) -> None:
    """Read at even intervals as long as requests come, and print what was read."""
    started = time.perf_counter()
    for at_seconds in course.moments():
        await asyncio.sleep(max(0.0, started + at_seconds - time.perf_counter()))
        ours.check()
        sending.process.check()
        reading = {"seconds": time.perf_counter() - started}
        for role, process in ours.processes.items():  # before their metrics, which open a connection
            reading[f"{role}_rss_mib"] = process.rss_mib()
            reading[f"{role}_open_files"] = process.handle.num_fds()
            reading[f"{role}_threads"] = process.handle.num_threads()
        reading["in_flight"] = (await ours.metrics("worker"))[product.IN_FLIGHT_METRIC]
        reading["spooled"] = (await ours.metrics("receiver"))[product.SPOOLED_METRIC]
        reading["queued"] = await product.queued(ours.store.client)
        reading["store_mib"] = float(await ours.store.info("used_memory")) / 2**20
        readings.append(reading)
        print(", ".join(f"{name} {value:,.1f}" for name, value in reading.items()), file=sys.stderr)


async def run(*, minutes: float, rate: float | None) -> bool:
    """Measure, print and save. Returns whether every target is met."""
    readings: list[Reading] = []
    with run_folder() as folder:
        circumstances = await describe(folder)
        if rate is None:
            rate = await peak_per_second(folder) / 2
        ours = contender(course=Course.of(minutes * 60), rate=rate, readings=readings)
        row = Row(ours, [await ours.sample(folder)])
    Report(circumstances, rounds=1, rows=[row], readings=readings).publish(prefix="soak-", kept="readings")
    return row.meets_targets


def positive(text: str) -> float:
    """A number above 0 from the command line."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def main() -> int:
    """Read the command line and run.

    Returns:
        0: done, and every target met; 1: not measured; 3: a target missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=positive, default=_MINUTES, help=f"how long; {_MINUTES:g} by default")
    parser.add_argument("--rate", type=positive, help="POSTs a second; half of the peak, measured first, by default")
    options = parser.parse_args()
    try:
        met = asyncio.run(run(minutes=options.minutes, rate=options.rate))
    except (NotMeasuredError, TimeoutError) as error:
        print(f"not measured: {error}".rstrip(": "), file=sys.stderr)
        return 1
    return 0 if met else 3


if __name__ == "__main__":
    sys.exit(main())
