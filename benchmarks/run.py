"""`python -m benchmarks.run`: measure all contenders in turn, some rounds of it, and print one table."""

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path

from benchmarks.harness.environment import describe
from benchmarks.harness.figures import Contender, NotMeasuredError, Sample
from benchmarks.harness.report import Report, Row, rows_of, run_folder
from benchmarks.peers import install

MEASURES = (
    *("receive", "half-peak", "drain", "latency", "burst", "outage"),
    *("spooling", "rerun", "scaling", "handlers", "body", "backlog"),
)
"""In the order of the table. Each is a file in `benchmarks/measures`."""

_ROUNDS = 3


async def run(names: Sequence[str], *, rounds: int, quick: bool) -> bool:
    """Measure, print and save. Returns whether every target is met.

    Raises:
        NotMeasuredError: not everything could be measured; the rest is printed and saved before.
    """
    chosen = [contenders_of(name, quick=quick) for name in names]
    skipped = skipped_peers(chain(*chosen))
    present = [[contender for contender in row if contender.peer not in skipped] for row in chosen]
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with run_folder() as folder:
        peers = {contender.peer for contender in chain(*present) if contender.peer is not None}
        circumstances = await describe(folder, peers=install.versions(peers))
        for contenders in present:
            rows += await measured(contenders, rounds, folder, failed)
    Report(circumstances, rounds, rows, {**skipped, **failed}).publish()
    if failed:
        raise NotMeasuredError(", ".join(failed))
    return all(row.meets_targets for row in rows)


def contenders_of(measure: str, *, quick: bool) -> list[Contender]:
    """The contenders of a measure, ours first."""
    module = import_module(f"benchmarks.measures.{measure.replace('-', '_')}")
    contenders: list[Contender] = module.contenders(quick=quick)
    return contenders


def skipped_peers(contenders: Iterable[Contender]) -> dict[str, str]:
    """Install what these need; returns why a peer is not there, by its name."""
    skipped: dict[str, str] = {}
    for name in sorted({contender.peer for contender in contenders if contender.peer is not None}):
        try:
            install.ensure(name)
        except install.NotInstalledError as error:
            skipped[name] = str(error)
            print(f"skipped: {name}, because {error}", file=sys.stderr)
    return skipped


async def measured(contenders: Sequence[Contender], rounds: int, folder: Path, failed: dict[str, str]) -> list[Row]:
    """The rows of one measure. A contender that cannot be measured goes to `failed`; without ours there are no rows."""
    rounds = min([rounds, *(each.most_rounds for each in contenders if each.most_rounds is not None)])
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for round_number in range(1, rounds + 1):
        for contender in contenders:
            if contender.name not in samples:
                continue
            title = f"{contender.measure}, {contender.name}"
            try:
                sample = await contender.sample(folder)
            except (NotMeasuredError, TimeoutError) as error:
                outcome = failed[title] = f"not measured: {error}".rstrip(": ")
                del samples[contender.name]
            else:
                samples[contender.name].append(sample)
                outcome = contender.unit.shown(sample.value)
            print(f"round {round_number} of {rounds}: {title}: {outcome}", file=sys.stderr)
        if contenders[0].name not in samples:
            return []
    present = [contender for contender in contenders if contender.name in samples]
    return rows_of(present, [samples[contender.name] for contender in present])


def main() -> int:
    """Read the command line and run.

    Returns:
        0: done, and in a full run every target met; 1: not measured; 3: a target missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="|".join(MEASURES), help="what to measure; all by default")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, not how fast is it")
    parser.add_argument("--rounds", type=int, help=f"how many rounds; {_ROUNDS} by default")
    options = parser.parse_args()
    unknown = set(options.measures) - set(MEASURES)
    if unknown:
        parser.error(f"there is no measure {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    rounds = options.rounds or (1 if options.quick else _ROUNDS)
    try:
        met = asyncio.run(run(options.measures or list(MEASURES), rounds=rounds, quick=options.quick))
    except NotMeasuredError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    return 0 if met or options.quick else 3


if __name__ == "__main__":
    sys.exit(main())
