"""Half peak: how long our receiver takes to answer at half the rate that it can take. One sample measures both.

First the peak, as `receive` measures it, in shorter; then an open loop at half of it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.entry import Entry
from benchmarks.figures import MILLISECONDS, Bound, Sample
from benchmarks.generator import generator
from benchmarks.processes import free_port, running
from benchmarks.receive import measure as receive
from benchmarks.receive.konvox_hooks import CONTENDER
from benchmarks.receive.measure import CONNECTIONS, WARM_UP_REQUESTS
from benchmarks.store import fresh_store

PEAK_REQUESTS = 20_000
QUICK_PEAK_REQUESTS = 4_000
SECONDS = 5.0
QUICK_SECONDS = 1.0
P99_MS = 25.0


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    return [
        Entry(
            "half-peak",
            CONTENDER.name,
            "p99 of the answers at half the peak rate, open loop",
            str(CONNECTIONS),
            MILLISECONDS,
            partial(
                measure,
                peak_requests=QUICK_PEAK_REQUESTS if quick else PEAK_REQUESTS,
                seconds=QUICK_SECONDS if quick else SECONDS,
            ),
            bounds=(Bound("value", "", " ms", most=P99_MS),),
        )
    ]


async def measure(folder: Path, *, peak_requests: int, seconds: float) -> Sample:
    """The p99 at half the peak."""
    peak = await peak_per_second(folder, requests=peak_requests)
    async with fresh_store(folder) as store:
        port = free_port()
        async with running(CONTENDER.command, CONTENDER.environment(port, store.url), folder) as process:
            await process.listening(port)
            async with generator(
                "benchmarks.receive.open_loop",
                port=port,
                connections=CONNECTIONS,
                requests=round(peak / 2 * seconds),
                warm_up=WARM_UP_REQUESTS,
                rate=peak / 2,
            ) as load:
                outcome = await load.go()
    more = {name: outcome[name] for name in ("p50_ms", "p99_ms", "max_ms")}
    return Sample(int(outcome["answered"]), outcome["p99_ms"], more={**more, "peak_per_second": peak})


async def peak_per_second(folder: Path, *, requests: int) -> float:
    """How many POSTs a second our receiver answers."""
    return (await receive.measure(CONTENDER, requests, folder)).value
