"""What `make bench` makes of its samples: ratios, targets and the table. And its generator's and handlers' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.entry import Entry
from benchmarks.figures import MILLISECONDS, PER_SECOND, Bound, Sample, Unit, percentile, ratio
from benchmarks.marks import mark, read_marks
from benchmarks.peers import install
from benchmarks.processes import NotMeasuredError
from benchmarks.report import markdown, rows_of
from benchmarks.run import MEASURES, _measured, installed_peers
from benchmarks.service import metrics


def samples(*values: float, **more: float) -> list[Sample]:
    """One for each round."""
    return [Sample(100, value, more=more) for value in values]


async def take_none(folder: Path) -> Sample:
    """In place of a measure."""
    raise NotImplementedError


def entry(name: str, unit: Unit = PER_SECOND, **more: Any) -> Entry:
    """A contender that is not sampled."""
    more.setdefault("sample", take_none)
    return Entry("measure", name, "", "64", unit, **more)


async def _sampled(value: float) -> Sample:
    return Sample(1, value)


async def _fails() -> Sample:
    raise NotMeasuredError("it ended")


def test_ratios_are_taken_within_the_rounds() -> None:
    """How many times as fast we are: the median of the rounds' ratios, not the ratio of the medians."""
    compared = ratio(samples(10, 40, 90), samples(10, 10, 10), PER_SECOND)
    assert (compared.least, compared.median, compared.most) == (1, 4, 9)


def test_less_time_is_faster() -> None:
    """Of a time the ratio is turned round, so that more is always better."""
    assert ratio(samples(2), samples(10), MILLISECONDS).median == 5


@pytest.mark.parametrize(("limits", "met"), [({"most": 25}, True), ({"most": 19}, False), ({"least": 21}, False)])
def test_the_median_is_held_to_the_bound(limits: dict[str, float], met: bool) -> None:
    """Whichever figure the bound is about."""
    bound = Bound("p99_ms", "p99", " ms", **limits)
    taken = [Sample(1, 0, more={"p99_ms": value}) for value in (1, 20, 300)]
    assert bound.met(taken) is met
    assert ("missed" in bound.verdict(taken)) is not met


def test_the_table_shows_targets_and_who_is_missing() -> None:
    """A missed ratio is a missed target, and a skipped peer has its reason."""
    entries = [entry("ours", bounds=(Bound("value", "", "/s", least=1),)), entry("theirs", target_ratio=2.0)]
    rows = rows_of(entries, [samples(150, 160, 170), samples(100, 100, 100)])
    assert [row.meets_targets for row in rows] == [True, False]
    text = markdown({"date": "today"}, rows, {"node": "there is no node on this machine"}, rounds=3)
    assert "| measure | theirs | 100 | 64 | 100/s (100 to 100) |  |  | 1.60 (1.50 to 1.70) | ≥ 2: **missed** |" in text
    assert "- left out: node: there is no node on this machine" in text


def test_only_like_is_compared() -> None:
    """A second figure of ours that counts in something else has no ratio, and its own bounds."""
    draining = entry("ours, draining", MILLISECONDS, bounds=(Bound("value", "", " ms", most=4),))
    rows = rows_of([entry("ours"), draining], [samples(5), samples(5)])
    assert [row.ratio for row in rows] == [None, None]
    assert [row.meets_targets for row in rows] == [True, False]


def test_a_peer_that_cannot_be_installed_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that need nothing are not affected."""
    monkeypatch.setattr(install, "PEERS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    installed, skipped = installed_peers([entry("ours"), entry("theirs", peer="node")])
    assert installed == []
    assert skipped == {"node": "there is no node and no npm on this machine"}


async def test_who_cannot_be_measured_does_not_spoil_the_rest(tmp_path: Path) -> None:
    """A peer that fails in one round has no row; without a row of ours there is nothing to compare with."""
    good = entry("ours", sample=lambda _: _sampled(2.0))
    bad = entry("theirs", sample=lambda _: _fails())
    failed: dict[str, str] = {}
    assert [row.entry.name for row in await _measured([good, bad], 2, tmp_path, failed)] == ["ours"]
    assert failed == {"measure, theirs": "not measured: it ended"}
    assert await _measured([bad, good], 2, tmp_path, failed) == []


def test_each_measure_starts_with_ours() -> None:
    """The others are compared with the first; and each measure says in a quick run as well what it would do."""
    for name, entries in MEASURES.items():
        first, *others = entries(quick=True)
        assert (first.measure, first.peer) == (name, None)
        assert "konvox-hooks" in first.name
        assert not any(other.bounds for other in others if "konvox-hooks" not in other.name)


def test_marks_are_read_up_to_the_last_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may be writing just now."""
    marks = tmp_path / "marks"
    monkeypatch.setenv("MARKS", str(marks))
    mark("c1")
    mark("c1")
    mark("c2")
    with marks.open("a") as file:
        file.write("c3 12")
    assert {contact: len(times) for contact, times in read_marks(marks).items()} == {"c1": 2, "c2": 1}


def test_metrics_are_read_by_name() -> None:
    """Those of an admin listener, without their types."""
    text = "# TYPE konvox_redis_up gauge\nkonvox_redis_up 1\n# TYPE a_b gauge\na_b 0.5\n"
    assert metrics(text) == {"konvox_redis_up": 1, "a_b": 0.5}


def test_percentiles_of_few_are_among_them() -> None:
    """The p99 of less than a hundred is the largest."""
    assert (percentile([1, 2, 3], 50), percentile([1, 2, 3], 99)) == (2, 3)
