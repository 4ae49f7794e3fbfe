"""Tests of `konvox-hooks dead` on a real store: letters are shown, retried and dropped, and the ledger agrees."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from broker.records import Record
from tests.support.console import Console
from tests.support.store import KEYS

BROKEN = """
import os


def crm(event):
    if not os.path.exists("fixed"):
        raise KeyError(f"no {event.type}")


@on("contact.replied", attempts=1)
async def first(event, ctx):
    crm(event)


@on("contact.*", attempts=1)
def second(event, ctx):
    crm(event)
"""


class Terminal(io.StringIO):
    """A stdin that says that it is a terminal, with text that somebody typed."""

    def isatty(self) -> bool:
        """Return True, unlike the parent class."""
        return True


@pytest.fixture
def broken(console: Console) -> tuple[str, Record]:
    """An event for which two handlers failed; returns the module's name and the event."""
    module = console.plug_in(BROKEN)
    [record] = console.receive("contact.replied")
    console.work()
    return module, record


def repair() -> None:
    """Make the handlers succeed from now on."""
    Path("fixed").touch()


def assert_balanced(console: Console, **expected: int) -> None:
    """The ledger must balance, and have these counts."""
    audit = console("audit", "--json")
    assert audit.exit_code == 0, audit.err
    assert {name: audit.json[name] for name in expected} == expected


def test_dead_letters_are_listed(console: Console, broken: tuple[str, Record]) -> None:
    """Each handler that failed is a line with its error; dead letters do not make the command fail."""
    module, record = broken
    listed = console("dead", "list")
    assert listed.exit_code == 0
    rows = sorted(listed.rows)
    assert [row[:5] for row in rows] == [
        [f"{record.id}/{module}.{name}", "contact.replied", f"{module}.{name}", "attempts", "1"]
        for name in ("first", "second")
    ]
    assert rows[0][6] == "KeyError: 'no contact.replied'"
    as_json = console("dead", "list", "--json", "--limit", "1").json
    assert [letter["event_id"] for letter in as_json] == [record.id]


def test_dead_letters_are_shown_with_the_users_frames(console: Console, broken: tuple[str, Record]) -> None:
    """A letter, or all letters of an event, are shown with error, the users' traceback, and the event's body."""
    module, record = broken
    shown = console("dead", "show", f"{record.id}/{module}.second").out
    assert "error: KeyError: 'no contact.replied'\n" in shown
    assert f'{module}.py", line ' in shown
    assert "in crm\n" in shown
    assert "/worker/" not in shown
    assert '\n  "event": "contact.replied",\n' in shown
    assert console("dead", "show", record.id).out.count("Traceback") == 2


def test_a_dead_letter_as_json_is_complete(console: Console, broken: tuple[str, Record]) -> None:
    """`--json` shows the exact body and the whole traceback."""
    module, record = broken
    [letter] = console("dead", "show", f"{record.id}/{module}.first", "--json").json
    assert letter["body"] == record.body
    assert letter["handler"] == f"{module}.first"
    assert letter["traceback"].startswith("Traceback (most recent call last)")


def test_a_retried_letter_is_run_again_alone(console: Console, broken: tuple[str, Record]) -> None:
    """A letter is retried alone by its id, and the event's id then retries the other one."""
    module, record = broken
    repair()
    retried = console("dead", "retry", f"{record.id}/{module}.first")
    assert (retried.exit_code, retried.out) == (0, "retried 1 of 1 dead letters\n")
    assert_balanced(console, pending=1, dead_letters=1)
    console.work()
    assert [letter["handler"] for letter in console("dead", "list", "--json").json] == [f"{module}.second"]
    assert_balanced(console, dead=1, dead_letters=1)
    assert console("dead", "retry", record.id).exit_code == 0
    console.work()
    assert_balanced(console, delivered=1, dead=0, dead_letters=0)


HEIRS = """
@on("contact.replied", name="crm.heir", was="crm.gone")
async def heir(event, ctx):
    with open("heir", "a") as file:
        print(event.id, file=file)


@on("enrollment.*")
async def unconcerned(event, ctx): ...
"""


def test_letters_are_given_to_another_handler(console: Console, broken: tuple[str, Record]) -> None:
    """The letters of all handlers run with the one that is named, each of them, and the ledger agrees."""
    _, record = broken
    console.plug_in(HEIRS)
    retried = console("dead", "retry", "--all", "--handler", "crm.heir")
    assert (retried.exit_code, retried.out) == (0, "retried 2 of 2 dead letters\n")
    assert_balanced(console, pending=1, dead=0)
    console.work()
    assert Path("heir").read_text().split() == [record.id] * 2
    assert_balanced(console, delivered=1, dead=0, dead_letters=0)


def test_an_heir_is_found_by_a_former_name(console: Console, broken: tuple[str, Record]) -> None:
    """A name that a handler had before leads to it as well."""
    module, record = broken
    console.plug_in(HEIRS)
    assert console("dead", "retry", f"{record.id}/{module}.first", "--handler", "crm.gone").exit_code == 0
    console.work()
    assert Path("heir").read_text().split() == [record.id]
    assert_balanced(console, dead=1, dead_letters=1)


def test_an_heir_that_cannot_be_is_refused(console: Console, broken: tuple[str, Record]) -> None:
    """Nothing is retried with a handler that is not loaded, or that does not want such events."""
    console.plug_in(HEIRS)
    unknown = console("dead", "retry", "--all", "--handler", "crm.nobody")
    assert unknown.exit_code == 2
    assert "no handler is named crm.nobody; there are: " in unknown.err
    module = next(word for word in unknown.err.replace(",", " ").split() if word.endswith(".unconcerned"))
    unwanted = console("dead", "retry", "--all", "--handler", module)
    assert (unwanted.exit_code, unwanted.out) == (1, "retried 0 of 2 dead letters\n")
    assert "does not want contact.replied" in unwanted.err
    assert_balanced(console, dead=1, dead_letters=2)


def test_all_are_retried(console: Console, broken: tuple[str, Record]) -> None:
    """`--all` retries every letter in several batches, and what fails again is a letter again."""
    console.receive(*(f"contact.number{number}" for number in range(250)))
    console.work()
    assert console("dead", "retry", "--all").out == "retried 252 of 252 dead letters\n"
    assert_balanced(console, pending=251, dead=0)
    repair()
    console.work()
    assert_balanced(console, delivered=251, dead=0)
    nothing = console("dead", "retry", "--all")
    assert (nothing.exit_code, nothing.out) == (0, "retried 0 of 0 dead letters\n")


def test_letters_are_dropped(console: Console, broken: tuple[str, Record]) -> None:
    """Letters are dropped by id and with `--all`, and the event counts as dropped once its last letter is gone."""
    module, record = broken
    dropped = console("dead", "drop", "--yes", f"{record.id}/{module}.first")
    assert (dropped.exit_code, dropped.out) == (0, "dropped 1 of 1 dead letters\n")
    assert_balanced(console, dead=1, dropped=0, dead_letters=1)
    assert console("dead", "drop", "--yes", "--all").exit_code == 0
    assert_balanced(console, dead=1, dropped=1, dead_letters=0)
    assert console("events", "show", record.id, "--json").json["state"] == "dropped"


@pytest.mark.parametrize("change", ["retry", "drop"])
def test_ids_without_letters_are_reported(console: Console, broken: tuple[str, Record], change: str) -> None:
    """Unknown ids are reported with exit code 1, and the known ones are processed."""
    _, record = broken
    yes = ["--yes"] if change == "drop" else []
    nothing = console("dead", change, *yes, "evt_a", "evt_b")
    assert (nothing.exit_code, nothing.out) == (1, "")
    assert "evt_a" in nothing.err
    assert "evt_b" in nothing.err
    some = console("dead", change, *yes, "evt_a", record.id)
    assert some.exit_code == 1
    assert some.out.endswith(" 2 of 2 dead letters\n")
    assert "1 not " in some.err
    assert_balanced(console, dead_letters=0)


def test_an_unknown_id_shows_nothing(console: Console) -> None:
    """An unknown id leads to exit code 1 and names the command that lists the letters."""
    shown = console("dead", "show", "evt_a")
    assert (shown.exit_code, shown.out) == (1, "")
    assert "dead list" in shown.err


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "--all", "x"], ["drop", "--yes"], ["drop", "--all"]])
def test_wrong_usage_is_two_and_changes_nothing(
    console: Console, broken: tuple[str, Record], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """No ids without `--all`, both, and a drop without a terminal are usage errors and change nothing."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert console("dead", *arguments).exit_code == 2
    assert_balanced(console, dead_letters=2)


@pytest.mark.parametrize(("typed", "exit_code", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("\n", 1, 2)])
def test_a_drop_on_a_terminal_is_asked_about(
    console: Console,
    broken: tuple[str, Record],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    exit_code: int,
    left: int,
) -> None:
    """The question before a drop says how many letters there are, and only a yes drops them."""
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    asked = console("dead", "drop", "--all")
    assert asked.exit_code == exit_code
    assert "Drop 2 dead letters for good? [y/N]" in asked.err + asked.out
    assert_balanced(console, dead_letters=left)


def test_a_letter_without_its_job_is_not_in_the_way(console: Console, broken: tuple[str, Record]) -> None:
    """A letter without its job is not retried, with an explanation, but can be dropped; other letters are retried."""
    [lost] = console.receive("contact.lost")
    console.in_store(lambda server: server.delete(KEYS.job_key(lost.id)))
    console.work()
    repair()
    retried = console("dead", "retry", "--all")
    assert (retried.exit_code, retried.out) == (1, "retried 2 of 3 dead letters\n")
    assert f"replay {lost.id} --to queue" in retried.err
    assert "its body is gone" in console("dead", "show", lost.id).out
    assert console("replay", lost.id, "--to", "queue").exit_code == 0
    console.work()
    assert console("dead", "drop", lost.id, "--yes").exit_code == 0
    assert_balanced(console, delivered=2, dead=1, dropped=1, dead_letters=0)


def test_what_an_error_says_cannot_speak_to_the_terminal(console: Console) -> None:
    """Escapes in a body or in an error become blanks."""
    console.plug_in('@on("*", attempts=1)\nasync def fail(event, ctx):\n    raise ValueError(event.data["x"])\n')
    [record] = console.receive("odd.event", data={"x": "\x1b[2J\x9b2J"})
    console.work()
    for arguments in (["list"], ["show", record.id]):
        shown = console("dead", *arguments)
        assert "2J" in shown.out
        assert not {"\x1b", "\x9b"} & set(shown.out)


@pytest.mark.parametrize("name", ["list", "show", "retry", "drop"])
def test_each_help_has_an_example(console: Console, name: str) -> None:
    """The example in each help works as it is."""
    assert f"\n    konvox-hooks dead {name}" in console("dead", name, "--help").out


def test_poison_is_listed_without_a_handler(console: Console) -> None:
    """The letter of a poison event has no handler, and the event's id as its id."""
    console.plug_in(BROKEN)
    [record] = console.receive("contact.replied")
    console.in_store(lambda server: server.hset(KEYS.crashes, record.id, 3))
    console.work()
    [letter] = console("dead", "list", "--json").json
    assert (letter["id"], letter["handler"], letter["reason"]) == (record.id, None, "poison")
    repair()
    assert console("dead", "retry", record.id).exit_code == 0
    console.work()
    assert_balanced(console, delivered=1, dead=0)
