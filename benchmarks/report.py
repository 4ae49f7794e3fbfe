"""What a run prints (one Markdown table) and keeps (JSON). Pure but for the file that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from benchmarks.figures import Sample, Spread, ratio, spread

RESULTS = Path(__file__).parent / "results"

_HEAD = (
    "| measure | contender | N | concurrency | per second, median (min to max) | p50 / p99 ms | CPU s per 1,000 "
    "| ours is … times it (min to max) | target |\n|---|---|--:|--:|--:|--:|--:|--:|---|"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one measure.

    Attributes:
        measure: `receive` or `drain`.
        name: who.
        note: what is particular about it.
        concurrency: connections, or events in flight.
        samples: one for each round.
        target_ratio: how many times as fast as this one we are to be.
        ratio: how many times as fast as this one we are; None for ourselves.
    """

    measure: str
    name: str
    note: str
    concurrency: int
    samples: Sequence[Sample]
    target_ratio: float | None
    ratio: Spread | None

    @property
    def verdict(self) -> str:
        """The target, and whether the median meets it."""
        if self.target_ratio is None or self.ratio is None:
            return ""
        return f"≥ {self.target_ratio:g}: {'met' if self.meets_target else '**missed**'}"

    @property
    def meets_target(self) -> bool:
        """False if there is a target and the median misses it."""
        return self.target_ratio is None or self.ratio is None or self.ratio.median >= self.target_ratio


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """The rows of one measure, each but the first (ours) compared with it."""
    ours, *others = rows
    compared = [
        Row(
            other.measure,
            other.name,
            other.note,
            other.concurrency,
            other.samples,
            other.target_ratio,
            ratio(ours.samples, other.samples),
        )
        for other in others
    ]
    return [ours, *compared]


def markdown(circumstances: Mapping[str, str], rows: Iterable[Row], *, rounds: int) -> str:
    """The circumstances and the table."""
    facts = [f"- {name}: {value}" for name, value in circumstances.items()]
    facts.append(f"- rounds: {rounds}, contenders alternating; ratios are taken within each round")
    rows = list(rows)
    elsewhere = Spread.of([sample.more["cores_busy_elsewhere"] for row in rows for sample in row.samples])
    facts.append(f"- cores that others kept busy meanwhile: {_numbers(elsewhere, '.2f')}; near 0 on a quiet machine")
    return "\n".join([*facts, "", _HEAD, *map(_line, rows)])


def save(circumstances: Mapping[str, str], rows: Iterable[Row], *, rounds: int, stamp: str) -> Path:
    """Keep everything as JSON; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{stamp}.json"
    content = {"circumstances": dict(circumstances), "rounds": rounds, "rows": [asdict(row) for row in rows]}
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return path


def _line(row: Row) -> str:
    latencies = [
        f"{spread(row.samples, lambda sample, key=key: sample.more[key]).median:.1f}"
        for key in ("p50_ms", "p99_ms")
        if key in row.samples[0].more
    ]
    cells = (
        row.measure,
        f"{row.name} ({row.note})" if row.note else row.name,
        f"{row.samples[0].count:,}",
        str(row.concurrency),
        _numbers(spread(row.samples, lambda sample: sample.rate), ",.0f"),
        " / ".join(latencies),
        f"{spread(row.samples, lambda sample: sample.cpu_seconds_per_1000).median:.3f}",
        "" if row.ratio is None else _numbers(row.ratio, ",.2f"),
        row.verdict,
    )
    return f"| {' | '.join(cells)} |"


def _numbers(numbers: Spread, form: str) -> str:
    return f"{numbers.median:{form}} ({numbers.least:{form}} to {numbers.most:{form}})"
