"""`python -m benchmarks.run`: measure all contenders in turn, some rounds of it, and print one table."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import drain, machine, receive, report
from benchmarks.drain import measure as drain_measure
from benchmarks.drain.contender import Worker
from benchmarks.figures import Sample
from benchmarks.processes import NotMeasuredError
from benchmarks.receive import measure as receive_measure
from benchmarks.receive.contender import Receiver
from benchmarks.store import fresh_store

ROUNDS = 3
QUICK_ROUNDS = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender in a measure, ready to be sampled into `folder`."""

    measure: str
    contender: Receiver | Worker
    concurrency: int
    sample: Callable[[Path], Awaitable[Sample]]


def receive_entries(*, quick: bool) -> list[Entry]:
    """The receivers."""
    requests = receive_measure.QUICK_REQUESTS if quick else receive_measure.REQUESTS

    def entry(receiver: Receiver) -> Entry:
        sample = partial(_sample_receiver, receiver, requests)
        return Entry("receive", receiver, receive_measure.CONNECTIONS, sample)

    return [entry(receiver) for receiver in receive.CONTENDERS]


def drain_entries(*, quick: bool) -> list[Entry]:
    """The workers."""

    def entry(worker: Worker) -> Entry:
        own = worker.quick_events if quick else worker.events
        usual = drain_measure.QUICK_EVENTS if quick else drain_measure.EVENTS
        return Entry("drain", worker, worker.concurrency, partial(_sample_worker, worker, own or usual))

    return [entry(worker) for worker in drain.CONTENDERS]


MEASURES: dict[str, Callable[..., list[Entry]]] = {"receive": receive_entries, "drain": drain_entries}


async def run(names: Sequence[str], *, rounds: int, quick: bool) -> bool:
    """Measure, print and save. Returns whether every target is met."""
    report.RESULTS.mkdir(exist_ok=True)
    rows: list[report.Row] = []
    with tempfile.TemporaryDirectory(dir=report.RESULTS, prefix="run-") as folder:
        async with fresh_store(Path(folder)) as store:
            circumstances = machine.describe(await store.version(), Path(folder))
        for name in names:
            rows += await _measured(MEASURES[name](quick=quick), rounds, Path(folder))
    print(report.markdown(circumstances, rows, rounds=rounds))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    print(f"\nAll samples: {report.save(circumstances, rows, rounds=rounds, stamp=stamp).relative_to(Path.cwd())}")
    return all(row.meets_target for row in rows)


async def _measured(entries: Sequence[Entry], rounds: int, folder: Path) -> list[report.Row]:
    samples: list[list[Sample]] = [[] for _ in entries]
    for round_number in range(1, rounds + 1):
        for entry, taken in zip(entries, samples, strict=True):
            sample = await entry.sample(folder)
            taken.append(sample)
            print(
                f"round {round_number} of {rounds}: {entry.measure}, {entry.contender.name}: {sample.rate:,.0f}/s",
                file=sys.stderr,
            )
    rows = [
        report.Row(
            entry.measure,
            entry.contender.name,
            entry.contender.note,
            entry.concurrency,
            taken,
            entry.contender.target_ratio,
            ratio=None,
        )
        for entry, taken in zip(entries, samples, strict=True)
    ]
    return report.with_ratios(rows)


async def _sample_receiver(receiver: Receiver, requests: int, folder: Path) -> Sample:
    return await receive_measure.measure(receiver, requests=requests, folder=folder)


async def _sample_worker(worker: Worker, events: int, folder: Path) -> Sample:
    return await drain_measure.measure(worker, events=events, folder=folder)


def main() -> int:
    """Read the command line and run.

    Returns:
        0: done, and in a full run every target met; 1: not measured; 3: a target missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="receive|drain", help="what to measure; everything by default")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, not how fast is it")
    parser.add_argument("--rounds", type=int, help=f"how many rounds; {ROUNDS} by default")
    options = parser.parse_args()
    unknown = set(options.measures) - set(MEASURES)
    if unknown:
        parser.error(f"there is no measure {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    try:
        met = asyncio.run(run(options.measures or list(MEASURES), rounds=rounds, quick=options.quick))
    except NotMeasuredError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    return 0 if met or options.quick else 3


if __name__ == "__main__":
    sys.exit(main())
