"""Scaling: how many times as many events two worker processes settle as one, where a handler costs CPU time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.drain import konvox_hooks
from benchmarks.drain import measure as drain
from benchmarks.entry import Entry
from benchmarks.figures import TIMES_MORE, Bound, Sample

EVENTS = 10_000
QUICK_EVENTS = 3_000
LEAST_TIMES = 1.6

_HANDLERS = Path(__file__).parent / "scaling_handlers.py"
_ONE = replace(konvox_hooks.CONTENDER, environment=partial(konvox_hooks.environment, handlers=_HANDLERS))
_TWO = replace(_ONE, command=(*_ONE.command, "--processes", "2"))


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    return [
        Entry(
            "scaling",
            "konvox-hooks worker, 2 processes against 1",
            "handler of 0.2 ms of CPU",
            f"{konvox_hooks.CONCURRENCY} each",
            TIMES_MORE,
            partial(measure, events=QUICK_EVENTS if quick else EVENTS),
            bounds=(Bound("value", "", " times", least=LEAST_TIMES),),
        )
    ]


async def measure(folder: Path, *, events: int) -> Sample:
    """The ratio of the two rates."""
    one = await drain.measure(_ONE, events, folder)
    two = await drain.measure(_TWO, events, folder)
    return Sample(
        events,
        two.value / one.value,
        two.cpu_seconds_per_1000,
        more={
            "one_per_second": one.value,
            "two_per_second": two.value,
            "store_cpu_seconds_per_1000": two.more["store_cpu_seconds_per_1000"],
            "cores_busy_elsewhere": max(one.more["cores_busy_elsewhere"], two.more["cores_busy_elsewhere"]),
        },
    )
