"""Tests of `konvox-hooks events` on a real store: list, show, export and import."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from broker.records import Job, Record
from konvox.samples import sample_body
from tests.support.console import Console
from tests.support.processes import OurProcess
from tests.support.store import KEYS

REPLIED, CREATED, UNSUBSCRIBED = "contact.replied", "enrollment.created", "enrollment.unsubscribed"
TOKEN = "a-token-for-the-tests-of-events-123"

MIXED = """
@on("contact.replied")
async def fine(event, ctx):
    pass


@on("contact.replied", attempts=1)
async def broken(event, ctx):
    raise KeyError("crm")


@on("enrollment.created")
async def unwanted(event, ctx):
    raise Drop("a test contact")
"""


def test_the_log_is_shown_newest_first_with_what_became_of_each(console: Console) -> None:
    """Events are listed newest first, each with id, type, time, state and the state of each handler."""
    module = console.plug_in(MIXED)
    replied, created = console.receive(REPLIED, CREATED)
    console.work()
    [waiting] = console.receive("campaign.paused")
    listed = console("events", "list")
    assert listed.exit_code == 0
    assert listed.rows == [
        [waiting.id, "campaign.paused", "2026-05-28T20:26:40.000Z", "pending", "", ""],
        [created.id, CREATED, "2026-05-28T20:26:41.000Z", "delivered", "", f"{module}.unwanted dropped"],
        [replied.id, REPLIED, "2026-05-28T20:26:40.000Z", "dead", "", f"{module}.broken dead, {module}.fine done"],
    ]


def test_the_log_as_json(console: Console) -> None:
    """`--json` is one array, whose events have the outcomes of their handlers with times as text."""
    module = console.plug_in(MIXED)
    [record] = console.receive(REPLIED)
    console.work()
    [event] = console("events", "list", "--json").json
    broken = event["handlers"][f"{module}.broken"]
    assert (event["id"], event["event_id"], event["replayed"], event["state"]) == (record.id, record.id, False, "dead")
    assert (broken["state"], broken["attempts"], broken["error"]) == ("dead", 1, "KeyError: 'crm'")
    assert broken["at"].endswith("Z")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--limit", "2"], [UNSUBSCRIBED, CREATED]),
        (["--type", REPLIED], [REPLIED]),
        (["--type", "enrollment.*"], [UNSUBSCRIBED, CREATED]),
        (["--type", "enrollment.*", "--limit", "1"], [UNSUBSCRIBED]),
        (["--type", "nothing.*"], []),
        (["--state", "pending"], [UNSUBSCRIBED, CREATED, REPLIED]),
        (["--state", "dead"], []),
    ],
)
def test_the_log_can_be_narrowed_down(console: Console, options: list[str], expected: list[str]) -> None:
    """The list can be filtered by type with wildcards, by state, and by number."""
    console.receive(REPLIED, CREATED, UNSUBSCRIBED)
    assert [event["type"] for event in console("events", "list", "--json", *options).json] == expected


def test_one_event_is_shown_with_everything(console: Console) -> None:
    """One event is shown with record, headers, exact body, outcomes, and its replays with theirs."""
    module = console.plug_in(MIXED)
    body = sample_body(CREATED)
    record = Record.capture(body, received_at_ms=0, headers={"User-Agent": "Konvox"})
    replay = Job.replay(record)
    console.admit([Job.first(record)])
    console.work()
    console.admit([replay])
    shown = console("events", "show", record.id, "--json").json
    assert shown["body"] == body.decode()
    assert shown["headers"] == {"User-Agent": "Konvox"}
    assert shown["received_at"] == "1970-01-01T00:00:00.000Z"
    assert shown["handlers"][f"{module}.unwanted"]["error"] == "a test contact"
    assert [(other["id"], other["state"]) for other in shown["replays"]] == [(replay.delivery, "pending")]
    alone = console("events", "show", replay.delivery, "--json").json
    assert (alone["id"], alone["event_id"], alone["replays"]) == (replay.delivery, record.id, [])


def test_one_event_is_shown_for_eyes(console: Console) -> None:
    """For people an event has facts, outcomes and an indented body, without terminal control codes."""
    module = console.plug_in(MIXED)
    [record] = console.receive(REPLIED, data={"subject": "Re: \x9b2J\u202e ü", "contactId": "c", "channel": "email"})
    console.work()
    shown = console("events", "show", record.id).out
    assert f"id: {record.id}\ntype: {REPLIED}\n" in shown
    assert f"{module}.broken\tdead\t1\t" in shown
    assert '\n  "data": {\n    "subject": "Re:  2J  ü",\n' in shown
    assert not {"\x9b", "\u202e"} & set(shown)


def test_an_unknown_event_is_a_failure_that_helps(console: Console) -> None:
    """An unknown event leads to exit code 1 and names the command that lists the events."""
    console.receive(REPLIED)
    shown = console("events", "show", "evt_nothing")
    assert (shown.exit_code, shown.out) == (1, "")
    assert "no event evt_nothing" in shown.err
    assert "events list" in shown.err


def test_an_event_is_found_after_its_dedupe_window(console: Console) -> None:
    """`events show` finds each event of `events list`, also if the dedupe window is shorter than the log."""
    [record, _] = console.receive(REPLIED, CREATED)
    console.in_store(lambda server: server.delete(KEYS.seen_key(record.id)))
    assert console("events", "show", record.id, "--json").json["id"] == record.id


def test_what_is_exported_can_be_imported(console: Console, redis_url: str) -> None:
    """An export has each event once, oldest first, in spite of a replay; an import restores the same events."""
    records = console.receive(REPLIED, CREATED, UNSUBSCRIBED)
    console.admit([Job.replay(records[0])])
    exported = console("events", "export")
    assert exported.out.encode() == b"".join(record.to_line() + b"\n" for record in records)
    assert console("events", "export", "--type", "enrollment.*").out.count("\n") == 2

    Path("events.jsonl").write_text(exported.out)
    console.in_store(lambda server: server.flushdb())
    for expected in ("accepted 3, duplicates 0, faulty 0\n", "accepted 0, duplicates 3, faulty 0\n"):
        imported = console("events", "import", "events.jsonl")
        assert (imported.exit_code, imported.out) == (0, expected)
    assert console("events", "export").out == exported.out


def test_an_export_to_a_file_replaces_it_as_a_whole(console: Console) -> None:
    """An export to a file writes the lines to it, and the number of events to stdout."""
    [record] = console.receive(REPLIED)
    Path("events.jsonl").write_text("what was there before")
    exported = console("events", "export", "--output", "events.jsonl")
    assert (exported.exit_code, exported.out) == (0, "exported 1 to events.jsonl\n")
    assert Path("events.jsonl").read_bytes() == record.to_line() + b"\n"
    assert [path.name for path in Path().iterdir()] == ["events.jsonl"]


def test_an_import_leaves_out_faulty_lines_only(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import reports file, line and fault of each faulty line, accepts the others, and exits with 1."""
    lines = [sample_body(REPLIED), b"{nonsense", b"", b'{"event": ""}', b'{"body": 1}', sample_body(CREATED)]
    Path("mixed.jsonl").write_bytes(b"\n".join(lines))
    imported = console("events", "import", "mixed.jsonl")
    assert (imported.exit_code, imported.out) == (1, "accepted 2, duplicates 0, faulty 3\n")
    reports = imported.err.splitlines()
    assert [line.split(": ")[1] for line in reports[:3]] == ["mixed.jsonl:2", "mixed.jsonl:4", "mixed.jsonl:5"]
    assert "not JSON" in reports[0]
    assert "3 lines of mixed.jsonl were skipped" in reports[3]

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    imported = console("events", "import", "-")
    assert (imported.exit_code, imported.out) == (1, "accepted 0, duplicates 2, faulty 3\n")
    assert "standard input:2: " in imported.err


def test_an_import_takes_more_than_a_batch(console: Console) -> None:
    """An import of thousands of lines accepts all of them, in order."""
    bodies = [sample_body("load.test", data={"number": number}, timestamp="t") for number in range(1500)]
    Path("many.jsonl").write_bytes(b"\n".join(bodies))
    assert console("events", "import", "many.jsonl").out == "accepted 1500, duplicates 0, faulty 0\n"
    exported = [orjson.loads(line)["body"] for line in console("events", "export").out.splitlines()]
    assert exported == [body.decode() for body in bodies]


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "list"],
        ["events", "show", "evt_x"],
        ["events", "export"],
        ["events", "export", "--output", "out.jsonl"],
        ["events", "import", "in.jsonl"],
        ["dead", "list"],
        ["dead", "retry", "--all"],
        ["dead", "drop", "--all", "--yes"],
        ["replay", "in.jsonl", "--to", "queue"],
        ["replay", "evt_x", "--to", "queue"],
    ],
)
def test_a_store_that_is_away_is_one_line(console: Console, arguments: list[str]) -> None:
    """A store that is away leads to one line on stderr, exit code 1, an empty stdout, and no file."""
    Path("in.jsonl").write_bytes(sample_body(REPLIED))
    console.setting("REDIS_URL", f"unix://{Path.cwd()}/nobody.sock")
    done = console(*arguments)
    assert (done.exit_code, done.out) == (1, "")
    [line] = done.err.splitlines()
    assert line.startswith("konvox-hooks: Redis is not available: ConnectionError")
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "import", "no-such-file"],
        ["events", "import", "."],
        ["events", "export", "--output", "."],
        ["events", "export", "--output", "no-such-folder/out"],
        ["events", "list", "--limit", "0"],
        ["events", "list", "--state", "lost"],
    ],
)
def test_wrong_usage_is_two(console: Console, arguments: list[str]) -> None:
    """Files that cannot be written and options without a meaning are usage errors."""
    assert console(*arguments).exit_code == 2


@pytest.mark.parametrize("name", ["list", "show", "export", "import"])
def test_each_help_has_an_example(console: Console, name: str) -> None:
    """The example in each help works as it is."""
    assert f"\n    konvox-hooks events {name}" in console("events", name, "--help").out


async def test_the_embedded_store_is_looked_at_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    """Without KONVOX_REDIS_URL the commands read the store of `serve`, while it runs and afterwards."""
    env = {"KONVOX_HOOK_TOKENS": TOKEN, "KONVOX_PORT": "0", "KONVOX_ADMIN_PORT": "0"}

    async def listed() -> Any:
        """The output of `events list`."""
        async with await OurProcess.start("events", "list", "--json", env=env, cwd=tmp_path) as process:
            assert await process.ended() == 0, process.stderr
        return [(event["id"], event["state"]) for event in orjson.loads(process.stdout)]

    async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
        url = await serve.listening("receiver")
        async with (
            aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
            session.post(f"{url}/hooks/konvox/{TOKEN}", data=sample_body(REPLIED)) as answer,
        ):
            event_id = (await answer.json())["id"]
        await serve.logged("konvox.event", event_id=event_id)
        assert [event for event, _ in await listed()] == [event_id]
        assert await serve.terminate() == 0
    assert await listed() == [(event_id, "delivered")]
