"""Tests of what all listings share: they say how many there are, name the account, and ask "did you mean"."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from broker.records import Job, Record
from konvox.samples import sample_body
from konvox_hooks.commands import events as events_command
from konvox_hooks.process.own_command import own_command
from tests.support.console import Console

ACCOUNTS = '[accounts.acme]\nhook_tokens = ["acme-token-0123456789"]\ncompany_ids = ["clacme"]\n'
FAILING = '@on("*", attempts=1)\ndef fail(event, ctx):\n    raise ValueError(event.type)\n'


def receive_for(console: Console, *accounts: str) -> list[Record]:
    """Receive one event for each of these accounts."""
    records = [
        Record.capture(
            sample_body("contact.replied", timestamp=f"t{n}"), received_at_ms=1_780_000_000_000, account=name
        )
        for n, name in enumerate(accounts)
    ]
    console.admit([Job.first(record) for record in records])
    return records


def on_terminal(*arguments: str, columns: int = 80) -> str:
    """Run a command on a terminal of this width; returns what it shows."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    with subprocess.Popen(own_command(*arguments), stdout=child, stderr=subprocess.PIPE, env=environment) as process:
        os.close(child)
        shown = b""
        try:
            while chunk := os.read(parent, 65536):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(parent)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_listing_says_how_many_there_are(console: Console) -> None:
    """A listing that does not show everything says how many there are, and how to see them; others say nothing."""
    console.plug_in(FAILING)
    console.receive(*["contact.replied"] * 3)
    console.work()
    for command, noun in (("events", "events"), ("dead", "dead letters")):
        for as_json in ([], ["--json"]):
            some = console(command, "list", "--limit", "2", *as_json)
            assert some.err == f"konvox-hooks: 2 of 3 {noun}; --limit 3 shows all\n"
            assert console(command, "list", *as_json).err == ""
    assert len(console("events", "list", "--limit", "3").rows) == 3


def test_a_listing_with_a_filter_counts_what_matches(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a filter, only what matches is counted; if that takes too long, the listing says so."""
    console.receive(*["contact.replied", "enrollment.created"] * 3)
    narrowed = console("events", "list", "--type", "contact.*", "--limit", "1")
    assert narrowed.err == "konvox-hooks: 1 of 3 events; --limit 3 shows all\n"
    assert console("events", "list", "--type", "contact.*", "--limit", "3").err == ""
    monkeypatch.setattr(events_command, "_COUNT_SECONDS", 0)
    assert "1 of more than 2 events" in console("events", "list", "--type", "contact.*", "--limit", "1").err


def test_the_account_is_named_everywhere(console: Console) -> None:
    """JSON and tab-separated output name the account of each event and dead letter, and `replay` does too."""
    console.plug_in(FAILING)
    records = receive_for(console, "acme", "globex")
    console.work()
    assert [event["account"] for event in console("events", "list", "--json").json] == ["globex", "acme"]
    assert [row[-1] for row in console("events", "list").rows] == ["globex", "acme"]
    assert console("events", "list").out.split("\n")[0].endswith("\tACCOUNT")
    assert console("events", "show", records[0].id, "--json").json["account"] == "acme"
    assert "account: acme" in console("events", "show", records[0].id).out
    assert {letter["account"] for letter in console("dead", "list", "--json").json} == {"acme", "globex"}
    assert {row[-1] for row in console("dead", "list").rows} == {"acme", "globex"}
    assert console("dead", "show", records[1].id, "--json").json[0]["account"] == "globex"
    Path("some.jsonl").write_bytes(records[0].to_line())
    assert console("replay", "some.jsonl", "--json").json["events"][0]["account"] == "acme"


def test_several_accounts_make_a_fixed_column(console: Console) -> None:
    """With an accounts file the column is there whatever the rows are; without one it is left out if it is empty."""
    console.receive("contact.replied")
    assert "ACCOUNT" not in console("events", "list").out
    assert console("events", "list", "--json").json[0]["account"] == ""
    Path("accounts.toml").write_text(ACCOUNTS)
    console.setting("ACCOUNTS_FILE", "accounts.toml")
    for command in ("events", "dead"):
        assert console(command, "list").out.split("\n")[0].endswith("\tACCOUNT")


def test_on_80_columns_nothing_is_broken_that_is_copied(console: Console) -> None:
    """On a terminal of 80 columns, each id, type and handler is whole on one line, in all listings."""
    module = console.plug_in(FAILING)
    [record] = console.receive("enrollment.unsubscribed")
    console.work()
    replay = Job.replay(record)
    console.admit([replay])
    listed = on_terminal("events", "list").splitlines()
    for whole in (replay.delivery, "enrollment.unsubscribed", f"{module}.fail dead"):
        assert any(whole in line for line in listed)
    dead = on_terminal("dead", "list").splitlines()
    for whole in (f"{record.id}/{module}.fail", "enrollment.unsubscribed", "ValueError: enrollment.unsubscribed"):
        assert any(whole in line for line in dead)
    shown = on_terminal("handlers")
    assert str(Path(f"{module}.py").resolve()) in shown


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["evnts"], "Did you mean 'events'?"),
        (["events", "lst"], "Did you mean 'list'?"),
        (["api", "campaign"], "Did you mean 'campaigns'?"),
        (["dead", "list", "--jsn"], "Did you mean '--json'?"),
        (["trigger", "contact.replid"], "did you mean contact.replied?"),
        (["trigger", "Contact.Replied"], "did you mean contact.replied?"),
        (["trigger", "contact_replied"], "did you mean contact.replied?"),
        (["register", "--events", "enrolment.created"], "did you mean enrollment.created?"),
        (["api", "webhooks", "register", "--url", "https://a.b/c", "--events", "contact.reply"], "contact.replied?"),
    ],
)
def test_what_is_mistyped_gets_a_question(console: Console, arguments: list[str], question: str) -> None:
    """A mistyped command, option or event's name is a usage error that asks "did you mean"."""
    console.setting("HOOK_TOKENS", "a-token-0123456789abcdef")
    done = console(*arguments)
    assert (done.exit_code, done.out) == (2, "")
    assert question in done.err


def test_a_handler_or_a_filter_with_a_mistyped_event_gets_a_question(console: Console) -> None:
    """`handlers` and `events list --type` ask about a name that no event has, and not about wildcards."""
    console.plug_in('@on("contact.replyed", "enrollment.*", "meeting.booked")\ndef f(event, ctx): ...\n')
    console.receive("contact.replied")
    asked = console("handlers").err
    assert "no event contact.replyed: did you mean contact.replied?" in asked
    assert "meeting.booked" not in asked
    assert "did you mean contact.replied?" in console("events", "list", "--type", "contact.replyed").err
    assert "did you mean" not in console("events", "list", "--type", "contact.reply*").err
