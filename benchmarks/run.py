"""`python -m benchmarks.run`: measure all contenders in turn, some rounds of it, and print one table."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import backlog, burst, growth, half_peak, machine, outage, report, rerun, scaling, spooling
from benchmarks.drain import measure as drain
from benchmarks.entry import Entry
from benchmarks.figures import Sample
from benchmarks.latency import measure as latency
from benchmarks.peers import install
from benchmarks.processes import NotMeasuredError
from benchmarks.receive import measure as receive
from benchmarks.store import fresh_store

ROUNDS = 3
QUICK_ROUNDS = 1

MEASURES: dict[str, Callable[..., list[Entry]]] = {
    "receive": receive.entries,
    "half-peak": half_peak.entries,
    "drain": drain.entries,
    "latency": latency.entries,
    "burst": burst.entries,
    "outage": outage.entries,
    "spooling": spooling.entries,
    "rerun": rerun.entries,
    "scaling": scaling.entries,
    "handlers": growth.handlers_entries,
    "body": growth.body_entries,
    "backlog": backlog.entries,
}


async def run(names: Sequence[str], *, rounds: int, quick: bool) -> bool:
    """Measure, print and save. Returns whether every target is met.

    Raises:
        NotMeasuredError: not everything could be measured; what could is printed and saved before.
    """
    chosen = [MEASURES[name](quick=quick) for name in names]
    installed, skipped = installed_peers([entry for entries in chosen for entry in entries])
    report.RESULTS.mkdir(exist_ok=True)
    rows: list[report.Row] = []
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=report.RESULTS, prefix="run-") as folder:
        async with fresh_store(Path(folder)) as store:
            circumstances = machine.describe(await store.version(), Path(folder), install.versions(installed))
        for entries in chosen:
            present = [entry for entry in entries if entry.peer not in skipped]
            rows += await _measured(present, rounds, Path(folder), failed)
    missing = {**skipped, **failed}
    print(report.markdown(circumstances, rows, missing, rounds=rounds))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    print(f"\nAll samples: {report.save(circumstances, rows, missing, rounds=rounds, stamp=stamp)}")
    if failed:
        raise NotMeasuredError(", ".join(failed))
    return all(row.meets_targets for row in rows)


def installed_peers(entries: Sequence[Entry]) -> tuple[list[str], dict[str, str]]:
    """Install what these need; returns which peers are there, and why the others are not."""
    installed: list[str] = []
    skipped: dict[str, str] = {}
    for name in sorted({entry.peer for entry in entries if entry.peer is not None}):
        try:
            install.ensure(name)
        except install.NotInstalledError as error:
            skipped[name] = str(error)
            print(f"skipped: {name}, because {error}", file=sys.stderr)
        else:
            installed.append(name)
    return installed, skipped


async def _measured(entries: Sequence[Entry], rounds: int, folder: Path, failed: dict[str, str]) -> list[report.Row]:
    """The rows of one measure. Who cannot be measured goes to `failed`; if that is us, there are no rows at all."""
    rounds = min([rounds, *(entry.most_rounds for entry in entries if entry.most_rounds is not None)])
    samples: dict[str, list[Sample]] = {entry.name: [] for entry in entries}
    for round_number in range(1, rounds + 1):
        for entry in entries:
            if entry.name not in samples:
                continue
            try:
                sample = await entry.sample(folder)
            except (NotMeasuredError, TimeoutError) as error:
                outcome = failed[f"{entry.measure}, {entry.name}"] = f"not measured: {error}".rstrip(": ")
                del samples[entry.name]
            else:
                samples[entry.name].append(sample)
                outcome = report.shown(sample.value, entry.unit)
            print(f"round {round_number} of {rounds}: {entry.measure}, {entry.name}: {outcome}", file=sys.stderr)
        if entries[0].name not in samples:
            return []
    present = [entry for entry in entries if entry.name in samples]
    return report.rows_of(present, [samples[entry.name] for entry in present])


def main() -> int:
    """Read the command line and run.

    Returns:
        0: done, and in a full run every target met; 1: not measured; 3: a target missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="|".join(MEASURES), help="what to measure; all by default")
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
