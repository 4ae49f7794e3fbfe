"""Rerun: how long after the kill -9 of a worker another one runs the events that it had in flight.

A worker with the defaults has ten events in flight, each in a handler that does not end; a second worker is idle. The
first is killed; the time runs until the last of the ten has started elsewhere, and none may start there before. Ours
alone: what others promise takes up to minutes (see `docs/performance.md`). Target: 16 s.
"""

import time
from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import SECONDS, Bound, Contender, NotMeasuredError, Sample
from benchmarks.harness.store import fresh_store
from benchmarks.harness.system import service
from benchmarks.harness.workload import bodies, read_marks
from benchmarks.peers.systems import OURS

_EVENTS = 10


def contenders(*, quick: bool) -> list[Contender]:
    settings = {"KONVOX_LEASE_SECONDS": "1"} if quick else {}

    async def sample(folder: Path) -> Sample:
        marks = folder / "marks"
        marks.unlink(missing_ok=True)
        hanging, marking = ({**settings, "MARKS": str(marks), "BENCH_HANDLER": name} for name in ("hang", "mark"))
        async with fresh_store(folder) as store:
            await product.admit_bodies(store.client, bodies(_EVENTS))
            async with service(OURS, folder, "worker", store=store, settings=hanging) as victim:
                await victim.has_marked(marks, _EVENTS)
                async with service(OURS, folder, "worker", store=store, settings=marking) as other:
                    await other.processes["worker"].has_logged(product.WORKER_STARTED)
                    await victim.processes["worker"].kill()
                    killed_ns = time.monotonic_ns()
                    await other.has_marked(marks, _EVENTS, times=2)
        runs = list(read_marks(marks).values())
        if any(len(times) != 2 or times[1] < killed_ns for times in runs):
            raise NotMeasuredError("an event ran elsewhere before its worker was killed, or more than once afterwards")
        return Sample(_EVENTS, (max(times[1] for times in runs) - killed_ns) / 1e9)

    note = "lease of 1 s for quickness" if quick else "until the last of the dead worker's events runs elsewhere"
    bounds = (Bound("value", "", " s", most=16.0),)
    return [Contender("rerun", "konvox-hooks worker", note, product.CONCURRENCY, SECONDS, sample, bounds)]
