"""What a run prints (one Markdown table) and keeps (JSON, in `benchmarks/results`)."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from benchmarks.harness.figures import CORES_BUSY_ELSEWHERE, Contender, Sample, Spread, ratio, spread

_RESULTS = Path(__file__).parents[1] / "results"
_HEAD = (
    "| measure | contender | N | concurrency | median (min to max) | p50 / p99 ms | CPU s per 1,000 "
    "| ours is … times as fast (min to max) | target |\n|---|---|--:|--:|--:|--:|--:|--:|---|"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One contender, a sample for each round, and how many times as fast we are; None for our own rows."""

    contender: Contender
    samples: Sequence[Sample]
    ratio: Spread | None = None

    @property
    def verdict(self) -> str:
        """The targets, and whether the medians meet them."""
        verdicts = [bound.verdict(self.samples) for bound in self.contender.bounds]
        if self.contender.target_ratio is not None and self.ratio is not None:
            met = self.ratio.median >= self.contender.target_ratio
            verdicts.append(f"≥ {self.contender.target_ratio:g}: {'met' if met else '**missed**'}")
        return "; ".join(verdicts)

    @property
    def meets_targets(self) -> bool:
        """False if there is a target that the median misses."""
        return "missed" not in self.verdict

    def line(self) -> str:
        """Its line of the table."""
        contender, first = self.contender, self.samples[0]
        latencies_ms = [spread(self.samples, name).median for name in ("p50_ms", "p99_ms") if name in first.more]
        cpu = [sample.cpu_seconds_per_1000 for sample in self.samples if sample.cpu_seconds_per_1000 is not None]
        cells = (
            contender.measure,
            f"{contender.name} ({contender.note})" if contender.note else contender.name,
            f"{first.count:,}",
            str(contender.concurrency),
            spread(self.samples, "value").shown(contender.unit.digits, contender.unit.suffix),
            " / ".join(f"{value_ms:.{1 if value_ms >= 10 else 2}f}" for value_ms in latencies_ms),
            f"{Spread.of(cpu).median:.3f}" if cpu else "",
            "" if self.ratio is None else self.ratio.shown(2),
            self.verdict,
        )
        return f"| {' | '.join(cells)} |"

    def as_json(self) -> dict[str, object]:
        """All of it, for the record."""
        contender = self.contender
        return {
            **{name: str(getattr(contender, name)) for name in ("measure", "name", "note", "concurrency")},
            "unit": contender.unit.suffix.strip(),
            "samples": self.samples,
            "ratio": self.ratio,
            "target_ratio": contender.target_ratio,
            "bounds": contender.bounds,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A run: its circumstances, the rows, why something is left out, and the readings of a long sample."""

    circumstances: Mapping[str, str]
    rounds: int
    rows: list[Row]
    left_out: Mapping[str, str] = field(default_factory=dict)
    readings: Sequence[Mapping[str, float]] = ()

    def markdown(self) -> str:
        """The circumstances, what is left out, and the table."""
        facts = [f"- {name}: {value}" for name, value in self.circumstances.items()]
        if self.rounds > 1:
            facts.append(f"- rounds: {self.rounds}, contenders alternating; ratios are taken within each round")
        samples = [sample.more for row in self.rows for sample in row.samples]
        if elsewhere := [more[CORES_BUSY_ELSEWHERE] for more in samples if CORES_BUSY_ELSEWHERE in more]:
            busy = Spread.of(elsewhere).shown(2)
            facts.append(f"- cores that others kept busy meanwhile: {busy}; near 0 on a quiet machine")
        facts += [f"- left out: {name}: {reason.splitlines()[0]}" for name, reason in self.left_out.items()]
        return "\n".join([*facts, "", _HEAD, *(row.line() for row in self.rows)])

    def publish(self, *, prefix: str = "", kept: str = "samples") -> None:
        """Print it, and keep everything as JSON."""
        path = _RESULTS / f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
        content = {
            "circumstances": self.circumstances,
            "rounds": self.rounds,
            "left_out": self.left_out,
            "rows": [row.as_json() for row in self.rows],
            "readings": self.readings,
        }
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        print(f"{self.markdown()}\n\nAll {kept}: {path}")


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for the files of one run, on the project's disk: in a RAM disk fsync would cost nothing."""
    _RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_RESULTS, prefix="run-") as folder:
        yield Path(folder)


def rows_of(contenders: Sequence[Contender], samples: Sequence[Sequence[Sample]]) -> list[Row]:
    """The rows of one measure. Each but the first (ours) is compared with it, unless it has another unit."""
    ours, unit = samples[0], contenders[0].unit
    return [
        Row(contender, taken, None if taken is ours or contender.unit != unit else ratio(ours, taken, unit))
        for contender, taken in zip(contenders, samples, strict=True)
    ]
