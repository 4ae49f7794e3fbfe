"""What a run prints (one Markdown table) and keeps (JSON). Pure but for the file that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from benchmarks.entry import Entry
from benchmarks.figures import Sample, Spread, Unit, met_or_missed, ratio, spread

RESULTS = Path(__file__).parent / "results"

_HEAD = (
    "| measure | contender | N | concurrency | median (min to max) | p50 / p99 ms | CPU s per 1,000 "
    "| ours is … times as fast (min to max) | target |\n|---|---|--:|--:|--:|--:|--:|--:|---|"
)
_ELSEWHERE = "cores_busy_elsewhere"


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one measure.

    Attributes:
        entry: the contender.
        samples: one for each round.
        ratio: how many times as fast as this one we are; None for ourselves.
    """

    entry: Entry
    samples: Sequence[Sample]
    ratio: Spread | None

    @property
    def verdict(self) -> str:
        """The targets, and whether the medians meet them."""
        verdicts = [bound.verdict(self.samples) for bound in self.entry.bounds]
        if self.entry.target_ratio is not None and self.ratio is not None:
            met = self.ratio.median >= self.entry.target_ratio
            verdicts.append(f"≥ {self.entry.target_ratio:g}: {met_or_missed(met=met)}")
        return "; ".join(verdicts)

    @property
    def meets_targets(self) -> bool:
        """False if there is a target that the median misses."""
        return "missed" not in self.verdict


def rows_of(entries: Sequence[Entry], samples: Sequence[Sequence[Sample]]) -> list[Row]:
    """The rows of one measure, each but the first (ours) compared with it, unless it counts in something else."""
    ours, unit = samples[0], entries[0].unit
    return [
        Row(entry, taken, None if taken is ours or entry.unit != unit else ratio(ours, taken, unit))
        for entry, taken in zip(entries, samples, strict=True)
    ]


def markdown(circumstances: Mapping[str, str], rows: Iterable[Row], missing: Mapping[str, str], *, rounds: int) -> str:
    """The circumstances, the table, and who is not in it."""
    facts = [f"- {name}: {value}" for name, value in circumstances.items()]
    if rounds > 1:
        facts.append(f"- rounds: {rounds}, contenders alternating; ratios are taken within each round")
    rows = list(rows)
    if elsewhere := [sample.more[_ELSEWHERE] for row in rows for sample in row.samples if _ELSEWHERE in sample.more]:
        busy = Spread.of(elsewhere)
        shown = f"{busy.median:.2f} ({busy.least:.2f} to {busy.most:.2f})"
        facts.append(f"- cores that others kept busy meanwhile: {shown}; near 0 on a quiet machine")
    facts += [f"- left out: {name}: {reason.splitlines()[0]}" for name, reason in missing.items()]
    return "\n".join([*facts, "", _HEAD, *map(_line, rows)])


def save(
    circumstances: Mapping[str, str],
    rows: Iterable[Row],
    missing: Mapping[str, str],
    *,
    rounds: int,
    stamp: str,
    readings: Sequence[Mapping[str, float]] = (),
) -> Path:
    """Keep everything as JSON, with what was read in the course of a long sample; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{stamp}.json"
    content = {
        "circumstances": dict(circumstances),
        "rounds": rounds,
        "left_out": dict(missing),
        "rows": [_as_json(row) for row in rows],
        "readings": [dict(reading) for reading in readings],
    }
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return path


def shown(value: float, unit: Unit) -> str:
    """A value with its unit."""
    return f"{value:,.{unit.digits}f}{unit.suffix}"


def _as_json(row: Row) -> dict[str, object]:
    entry = row.entry
    return {
        "measure": entry.measure,
        "name": entry.name,
        "note": entry.note,
        "concurrency": entry.concurrency,
        "unit": entry.unit.suffix.strip(),
        "samples": [asdict(sample) for sample in row.samples],
        "ratio": None if row.ratio is None else asdict(row.ratio),
        "target_ratio": entry.target_ratio,
        "bounds": [asdict(bound) for bound in entry.bounds],
        "verdict": row.verdict,
    }


def _line(row: Row) -> str:
    entry, first = row.entry, row.samples[0]
    latencies = [
        f"{spread(row.samples, name).median:.{1 if spread(row.samples, name).median >= 10 else 2}f}"
        for name in ("p50_ms", "p99_ms")
        if name in first.more
    ]
    cpu = [sample.cpu_seconds_per_1000 for sample in row.samples if sample.cpu_seconds_per_1000 is not None]
    value = spread(row.samples, "value")
    extent = f"{value.least:,.{entry.unit.digits}f} to {value.most:,.{entry.unit.digits}f}"
    cells = (
        entry.measure,
        f"{entry.name} ({entry.note})" if entry.note else entry.name,
        f"{first.count:,}",
        entry.concurrency,
        f"{shown(value.median, entry.unit)} ({extent})",
        " / ".join(latencies),
        f"{Spread.of(cpu).median:.3f}" if cpu else "",
        "" if row.ratio is None else f"{row.ratio.median:,.2f} ({row.ratio.least:,.2f} to {row.ratio.most:,.2f})",
        row.verdict,
    )
    return f"| {' | '.join(cells)} |"
