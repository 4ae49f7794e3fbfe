"""`python -m tests.chaos.matrix`: see `make chaos`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence

from tests.chaos.matrix.report import failures, table
from tests.chaos.matrix.rows import ROWS
from tests.chaos.matrix.runner import Result, play


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rows, print the table; returns 1 if a promise was broken."""
    options = _parser().parse_args(arguments)
    say(f"seed {options.seed}")
    results = asyncio.run(_play_all(options.rows, iterations=options.iterations, seed=options.seed))
    sys.stdout.write(f"\n{table(results)}\n")
    if broken := failures(results):
        sys.stdout.write(f"\n{broken}\n")
    return 1 if broken else 0


def say(text: str) -> None:
    """Tell how it is going: to stderr, because stdout is for the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


async def _play_all(numbers: Sequence[int], *, iterations: int, seed: int) -> list[Result]:
    results = []
    for number in numbers:
        say(f"row {number}: {ROWS[number].fault} …")
        result = await play(ROWS[number], iterations=iterations, seed=seed)
        say(f"  {result.iterations} iterations in {result.seconds:.0f} s, {len(result.failures)} failed")
        results.append(result)
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make chaos", description="Break everything at random moments, and count.")
    parser.add_argument("--iterations", type=_positive, default=20, help="how often each row is played")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="makes the moments; any by default")
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help=f"comma-separated; there are {_known()}")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _rows(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if unknown := [number for number in numbers if number not in ROWS]:
        raise argparse.ArgumentTypeError(f"there is no row {unknown[0]}; there are {_known()}")
    return numbers


def _known() -> str:
    return ", ".join(map(str, ROWS))


if __name__ == "__main__":
    sys.exit(main())
