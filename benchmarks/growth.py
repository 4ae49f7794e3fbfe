"""Growth: how the cost of an event grows, in the worker with its handlers, in the receiver with its size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.drain import konvox_hooks as worker
from benchmarks.drain import measure as drain
from benchmarks.entry import Entry
from benchmarks.figures import TIMES_AS_LONG, Sample
from benchmarks.growth_handlers import HOW_MANY
from benchmarks.receive import konvox_hooks as receiver
from benchmarks.receive import measure as receive

HANDLERS = (1, 4, 16)
EVENTS = 10_000
QUICK_EVENTS = 3_000

PADDING_BYTES = (0, 4_096, 65_536)
REQUESTS = 10_000
QUICK_REQUESTS = 2_000

_HANDLERS = Path(__file__).parent / "growth_handlers.py"


def handlers_entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    return [
        Entry(
            "handlers",
            "konvox-hooks worker",
            f"an event for {HANDLERS[-1]} handlers against one for {HANDLERS[0]}",
            str(worker.CONCURRENCY),
            TIMES_AS_LONG,
            partial(measure_handlers, events=QUICK_EVENTS if quick else EVENTS),
        )
    ]


def body_entries(*, quick: bool) -> list[Entry]:
    """Ours alone."""
    return [
        Entry(
            "body",
            "konvox-hooks receiver",
            f"a body of {PADDING_BYTES[-1] // 1024} KiB more against one of 230 bytes",
            str(receive.CONNECTIONS),
            TIMES_AS_LONG,
            partial(measure_body, requests=QUICK_REQUESTS if quick else REQUESTS),
        )
    ]


async def measure_handlers(folder: Path, *, events: int) -> Sample:
    """How many times as long an event takes that is for many handlers; in `more`, the rates."""
    rates = {}
    for count in HANDLERS:
        sample = await drain.measure(
            replace(worker.CONTENDER, environment=partial(_environment, count)), events, folder
        )
        rates[f"per_second_with_{count}"] = sample.value
    return _slowdown(events, rates)


async def measure_body(folder: Path, *, requests: int) -> Sample:
    """How many times as long a large event takes; in `more`, the rates."""
    rates = {}
    for padding_bytes in PADDING_BYTES:
        sample = await receive.measure(receiver.CONTENDER, requests, folder, padding_bytes=padding_bytes)
        rates[f"per_second_with_{padding_bytes}_bytes_more"] = sample.value
    return _slowdown(requests, rates)


def _slowdown(count: int, rates: dict[str, float]) -> Sample:
    least, *_, most = rates.values()
    return Sample(count, least / most, more=rates)


def _environment(handlers: int, store_url: str) -> dict[str, str]:
    return {**worker.environment(store_url, handlers=_HANDLERS), HOW_MANY: str(handlers)}
