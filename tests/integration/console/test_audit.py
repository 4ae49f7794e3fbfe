"""`konvox-hooks audit` on a real store: the equation, what does not fit it, and the exit code."""

from __future__ import annotations

from broker import keys
from broker.records import Job
from tests.support.console import Console

MIXED = """
@on("contact.replied")
async def fine(event, ctx):
    pass


@on("contact.lost", attempts=1)
async def broken(event, ctx):
    raise KeyError("crm")
"""


def test_an_empty_ledger_balances(console: Console) -> None:
    """Nothing came, nothing is missing."""
    audit = console("audit", "--json")
    assert audit.exit_code == 0
    assert audit.json == {
        "accepted": 0,
        "duplicates": 0,
        "delivered": 0,
        "dead": 0,
        "dropped": 0,
        "pending": 0,
        "dead_letters": 0,
        "misplaced": [],
        "balanced": True,
        "difference": 0,
    }


def test_the_equation_is_readable(console: Console) -> None:
    """Every term stands above its number, and the rest is explained."""
    console.plug_in(MIXED)
    [record, *_] = console.receive("contact.replied", "contact.replied", "contact.lost")
    console.work()
    console.receive(*(f"contact.number{number}" for number in range(10)))
    console.admit([Job.first(record), Job.replay(record)])
    audit = console("audit")
    assert (audit.exit_code, audit.err) == (0, "")
    lines = audit.out.splitlines()
    assert lines[0] == "accepted = delivered + dead + pending"
    assert lines[1] == "      14 =         2 +    1 +      11"
    assert lines[3].startswith("duplicates 1:")
    assert lines[4].startswith("dead letters 1:")
    assert lines[5].startswith("dropped 0:")
    assert lines[-1] == "Everything that was accepted is accounted for."


def test_a_missing_event_is_found(console: Console) -> None:
    """A job that is removed behind our back leaves a difference: exit code 1, and how many."""
    [record, _] = console.receive("contact.replied", "enrollment.created")
    console.in_store(lambda server: server.zrem(keys.QUEUE, record.id))
    audit = console("audit")
    assert audit.exit_code == 1
    assert audit.out.splitlines()[1] == "       2 ≠         0 +    0 +       1"
    assert "accounted for" not in audit.out
    assert "does not balance: 1 missing" in audit.err
    as_json = console("audit", "--json")
    assert as_json.exit_code == 1
    assert (as_json.json["balanced"], as_json.json["difference"]) == (False, 1)


def test_what_is_misplaced_is_named(console: Console) -> None:
    """A queued job without a body and a letter without an index entry do not change the sum, and are found."""
    console.plug_in(MIXED)
    [dead] = console.receive("contact.lost")
    console.work()
    [queued, *_] = console.receive("contact.replied", *(f"contact.number{number}" for number in range(700)))
    console.in_store(lambda server: server.delete(keys.job_key(queued.id)))
    console.in_store(lambda server: server.delete(keys.DEAD_INDEX))
    audit = console("audit", "--json")
    [letter] = [misplaced for misplaced in audit.json["misplaced"] if misplaced.startswith(dead.id)]
    assert audit.exit_code == 1
    assert audit.json["difference"] == 0
    assert sorted(audit.json["misplaced"]) == sorted([queued.id, letter])
    assert f"misplaced {queued.id}\n" in console("audit").out
    assert "2 not where they should be" in audit.err


def test_the_help_has_an_example(console: Console) -> None:
    """It can be typed as it stands."""
    assert "\n    konvox-hooks audit --json" in console("audit", "--help").out
