"""What `make bench` prints and keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.harness import report
from benchmarks.harness.figures import MILLISECONDS, PER_SECOND, Bound, Contender, Sample, Unit
from benchmarks.harness.report import Report, rows_of


def samples(*values: float) -> list[Sample]:
    """One for each round."""
    return [Sample(100, value) for value in values]


async def take_none(folder: Path) -> Sample:
    """In place of a measure."""
    raise NotImplementedError


def contender(name: str, unit: Unit = PER_SECOND, **more: Any) -> Contender:
    """A contender that is not sampled."""
    return Contender("measure", name, "", 64, unit, take_none, **more)


def compared() -> Report:
    """A run in which we miss a target."""
    contenders = [contender("ours", bounds=(Bound("value", "", "/s", least=1),)), contender("theirs", target_ratio=2.0)]
    rows = rows_of(contenders, [samples(150, 160, 170), samples(100, 100, 100)])
    return Report({"date": "today"}, 3, rows, {"node": "there is no node on this machine"})


def test_the_table_shows_targets_and_who_is_missing() -> None:
    """A missed ratio is a missed target, and a skipped peer has its reason."""
    made = compared()
    assert [row.meets_targets for row in made.rows] == [True, False]
    text = made.markdown()
    assert "| measure | theirs | 100 | 64 | 100/s (100 to 100) |  |  | 1.60 (1.50 to 1.70) | ≥ 2: **missed** |" in text
    assert "- left out: node: there is no node on this machine" in text


def test_all_samples_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run names the JSON file that keeps every sample, ratio and verdict."""
    monkeypatch.setattr(report, "_RESULTS", tmp_path)
    compared().publish()
    [path] = tmp_path.glob("*.json")
    assert capsys.readouterr().out.endswith(f"All samples: {path}\n")
    ours, theirs = orjson.loads(path.read_bytes())["rows"]
    assert [sample["value"] for sample in ours["samples"]] == [150, 160, 170]
    assert (ours["concurrency"], ours["ratio"], ours["bounds"][0]["least"]) == ("64", None, 1)
    assert (theirs["ratio"]["median"], theirs["verdict"]) == (1.6, "≥ 2: **missed**")


def test_only_like_is_compared() -> None:
    """A second figure of ours in another unit has no ratio, and its own bounds."""
    draining = contender("ours, draining", MILLISECONDS, bounds=(Bound("value", "", " ms", most=4),))
    rows = rows_of([contender("ours"), draining], [samples(5), samples(5)])
    assert [row.ratio for row in rows] == [None, None]
    assert [row.meets_targets for row in rows] == [True, False]
