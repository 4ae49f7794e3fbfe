"""The matrix's own arithmetic: it must see what is lost, doubled or forged, or its table is worth nothing."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.matrix.__main__ import main
from tests.chaos.matrix.counting import Allowed, Places, count, faults_of
from tests.chaos.matrix.report import failures, table
from tests.chaos.matrix.rows import ROWS
from tests.chaos.matrix.runner import Failure, Result, seeds

SENT = ("a", "b", "c", "d")
WHEREVER = Places(runs={"a": 1}, dead=["b"], queued=["c"], spooled=["d"])


def test_what_is_somewhere_is_not_lost() -> None:
    """An event that took effect, is a dead letter, or waits in the queue or in a spool, is not lost."""
    counted = count(SENT, SENT, WHEREVER, Allowed())
    assert (counted.acked, counted.effects, counted.loss) == (4, 1, frozenset())
    assert faults_of(counted, Allowed()) == []


def test_what_was_acked_and_is_nowhere_is_lost() -> None:
    """An event that was acked and is nowhere is lost, and one that was not acked is not."""
    counted = count(["a", "e", "f"], ["a", "e"], WHEREVER, Allowed())
    assert counted.loss == {"e"}
    assert faults_of(counted, Allowed()) == ["lost 1: e"]


def test_an_effect_without_an_ack_is_legal() -> None:
    """An effect without an ack is no fault, because the receiver may have died just before it answered."""
    counted = count(["a"], [], Places(runs={"a": 1}), Allowed())
    assert faults_of(counted, Allowed()) == []


def test_as_many_duplicates_as_were_in_flight_are_excused() -> None:
    """As many duplicates as events were in flight are excused, and not one more, whichever event they are of."""
    counted = count(["a", "b"], ["a", "b"], Places(runs={"a": 3, "b": 2}), Allowed(duplicates=3))
    assert counted.duplicates == 3
    assert faults_of(counted, Allowed(duplicates=3)) == []
    assert faults_of(counted, Allowed(duplicates=2)) == ["3 runs too many, and 2 were in flight"]


def test_runs_that_are_meant_are_no_duplicates() -> None:
    """The three runs of a poison event are no duplicates, and a fourth one is."""
    allowed = Allowed(runs={"a": 3})
    assert count(["a"], ["a"], Places(runs={"a": 3}), allowed).duplicates == 0
    assert count(["a"], ["a"], Places(runs={"a": 4}), allowed).duplicates == 1


def test_what_konvox_has_not_sent_is_forged() -> None:
    """An event that took effect although Konvox has not sent it is forged."""
    counted = count(["a"], ["a"], Places(runs={"a": 1, "x": 1}), Allowed())
    assert counted.forged == {"x"}
    assert faults_of(counted, Allowed()) == ["forged 1: x"]


def test_any_iteration_can_be_played_alone() -> None:
    """A series of seeds that starts at any seed of another series continues like that one."""
    series = list(islice(seeds(7), 10))
    assert len(set(series)) == 10
    assert list(islice(seeds(series[4]), 6)) == series[4:]


def test_the_table_is_markdown_and_a_failure_says_how_to_see_it_again() -> None:
    """The table is Markdown, and a failure names the command that plays it again with its iteration's own seed."""
    result = Result(ROWS[2], 7, iterations=200, acked=4800, effects=4800, duplicates=3, allowed=800)
    result.failures.append(Failure(2, 41, "lost 1: evt_x"))
    *_, line = table([result]).splitlines()
    assert line.startswith(f"| 2 | {ROWS[2].fault} | 200 | 4,800 | 4,800 | 0 | 3 (800) | 0 |")
    assert failures([result]).splitlines() == [
        "row 2: lost 1: evt_x",
        "  again: make chaos ROWS=2 ITERATIONS=1 SEED=41",
    ]


@pytest.mark.parametrize("wrong", [["--rows", "1,99"], ["--rows", "all"], ["--iterations", "0"]])
def test_wrong_usage_is_reported_before_anything_is_started(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage leads to the usage text and exit code 2, before anything is started."""
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "usage: make chaos" in capsys.readouterr().err
