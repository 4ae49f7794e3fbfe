"""Rerun: how long after the kill -9 of a worker another one runs what it had in hand. Ours alone, with its defaults.

What others promise takes up to minutes (see `docs/performance.md`), and is not waited for here.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from benchmarks.drain.konvox_hooks import CONCURRENCY, CONTENDER, environment, fill
from benchmarks.entry import Entry
from benchmarks.figures import SECONDS, Bound, Sample
from benchmarks.marks import read_marks
from benchmarks.processes import NotMeasuredError, running, until
from benchmarks.store import fresh_store
from benchmarks.workload import bodies

EVENTS = 10
MOST_SECONDS = 16.0

_HANDLERS = Path(__file__).parent / "rerun_handlers.py"
_START_SECONDS = 20.0
_LONGEST_SECONDS = 60.0
_QUICK_LEASE = {"KONVOX_LEASE_SECONDS": "1"}


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    return [
        Entry(
            "rerun",
            CONTENDER.name,
            "lease of 1 s for quickness" if quick else "until the last of the dead worker's events runs elsewhere",
            str(CONCURRENCY),
            SECONDS,
            partial(measure, more=_QUICK_LEASE if quick else {}),
            bounds=(Bound("value", "", " s", most=MOST_SECONDS),),
        )
    ]


async def measure(folder: Path, *, more: dict[str, str]) -> Sample:
    """Seconds from the kill until the last event has started again."""
    marks = folder / "marks"
    marks.unlink(missing_ok=True)
    async with fresh_store(folder) as store:
        usual = {**environment(store.url, _HANDLERS), **more, "MARKS": str(marks)}
        await fill(store, bodies(EVENTS), folder)
        async with running(CONTENDER.command, {**usual, "HANG": "1"}, folder) as victim:
            await _started(marks, 1, seconds=_START_SECONDS)
            async with running(CONTENDER.command, usual, folder) as other:
                await other.has_logged("worker.started")
                await victim.kill()
                killed_ns = time.monotonic_ns()
                await _started(marks, 2, seconds=_LONGEST_SECONDS)
    runs = list(read_marks(marks).values())
    if any(len(times) != 2 or times[1] < killed_ns for times in runs):
        raise NotMeasuredError("an event ran elsewhere before its worker was killed, or more than once afterwards")
    return Sample(EVENTS, (max(times[1] for times in runs) - killed_ns) / 1e9)


async def _started(marks: Path, times: int, *, seconds: float) -> None:
    async def started() -> bool:
        """Whether every event has, so many times."""
        return sum(len(starts) >= times for starts in read_marks(marks).values()) == EVENTS

    await until(started, seconds=seconds)
