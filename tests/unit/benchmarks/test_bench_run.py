"""How `make bench` goes through its measures, and what it does without a peer or a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness.figures import PER_SECOND, Contender, NotMeasuredError, Sample
from benchmarks.peers import install
from benchmarks.run import MEASURES, contenders_of, measured, skipped_peers


async def two(folder: Path) -> Sample:
    """A sample."""
    return Sample(1, 2.0)


async def fails(folder: Path) -> Sample:
    """No sample."""
    raise NotMeasuredError("it ended")


OURS = Contender("measure", "ours", "", 64, PER_SECOND, two)
FAILING = Contender("measure", "theirs", "", 64, PER_SECOND, fails)


def test_a_peer_that_cannot_be_installed_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing peer has its reason, and contenders that need nothing are not affected."""
    monkeypatch.setattr(install, "PEERS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    peer = Contender("measure", "theirs", "", 64, PER_SECOND, two, peer="node")
    assert skipped_peers([OURS, peer]) == {"node": "there is no node and no npm on this machine"}


async def test_who_cannot_be_measured_does_not_spoil_the_rest(tmp_path: Path) -> None:
    """A peer that fails in one round has no row; without a row of ours there is nothing to compare with."""
    failed: dict[str, str] = {}
    assert [row.contender.name for row in await measured([OURS, FAILING], 2, tmp_path, failed)] == ["ours"]
    assert failed == {"measure, theirs": "not measured: it ended"}
    assert await measured([FAILING, OURS], 2, tmp_path, failed) == []


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_starts_with_ours(measure: str) -> None:
    """The first row of a measure is ours, and only rows of ours have bounds."""
    first, *others = contenders_of(measure, quick=True)
    assert (first.measure, first.peer) == (measure, None)
    assert "konvox-hooks" in first.name
    assert not any(other.bounds for other in others if "konvox-hooks" not in other.name)


def test_every_file_of_a_measure_is_measured() -> None:
    """`make bench` forgets no file in `benchmarks/measures`."""
    files = (Path(install.__file__).parents[1] / "measures").glob("[!_]*.py")
    assert {path.stem.replace("_", "-") for path in files} == set(MEASURES)
