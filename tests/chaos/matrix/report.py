"""What is printed in the end: a Markdown table, and how to play each failure again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.matrix.runner import Result

_HEAD = (
    "| row | fault | iterations | acked | effects | loss | duplicates (in flight) | forged | slowest answer | s |\n"
    "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def table(results: Sequence[Result]) -> str:
    """A Markdown table, one line a row."""
    return "\n".join([_HEAD, *map(_line, results)])


def failures(results: Sequence[Result]) -> str:
    """The failures, each with the command that plays it again; empty if there are none."""
    return "\n".join(
        f"row {failure.row}: {failure.fault}\n  again: make chaos ROWS={failure.row} ITERATIONS=1 SEED={failure.seed}"
        for result in results
        for failure in result.failures
    )


def _line(result: Result) -> str:
    duplicates = f"{result.duplicates} ({result.allowed})"
    cells = (
        *(f"{result.row.number}", result.row.fault, f"{result.iterations:,}"),
        *(f"{result.acked:,}", f"{result.effects:,}", f"{result.lost}", duplicates, f"{result.forged}"),
        *(f"{result.slowest_seconds:.2f} s", f"{result.seconds:.0f}"),
    )
    return f"| {' | '.join(cells)} |"
