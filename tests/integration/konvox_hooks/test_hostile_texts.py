"""What stands in events and errors cannot control a terminal, forge a line, or fill a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.records import Job, Record
from konvox.samples import sample_body
from konvox_hooks.cli import run
from tests.support.console import Console

HOSTILE = "x\nFORGED\r\x1b[2J\x9b31m\x85FORGED\u2028FORGED\u202e\u2066\u200b\U000e0041\x7f"

FAILING = f"""
import logging

@on("*", attempts=2, backoff=0.001)
def broken(event, ctx):
    logging.getLogger(__name__).info("about %s", {HOSTILE!r})
    raise ValueError({HOSTILE!r})
"""


def assert_safe(text: str) -> None:
    """Nothing but printable characters, tabs and line feeds; and no line begins as the hostile text wants it."""
    assert text.replace("\n", "").replace("\t", "").isprintable()
    assert not [line for line in text.split("\n") if line.startswith("FORGED")]


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_command_shows_a_text_that_does_something(
    console: Console, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    """Lists, details, replays, exports and logs of a hostile event and error are safe, and `--json` is exact."""
    console.setting("LOG_FORMAT", log_format)
    module = console.plug_in(FAILING)
    record = Record.capture(sample_body(f"odd.{HOSTILE}", data={"note": HOSTILE}), received_at_ms=0)
    console.admit([Job.first(record)])
    capsys.readouterr()
    console.work()
    worked = capsys.readouterr()
    assert_safe(worked.out)
    assert_safe(worked.err)
    assert worked.err.count("message.logged") == 2
    assert f"{module}.broken" in worked.err
    assert worked.err.count("Traceback") == 1
    file = Path("events.jsonl")
    assert console("events", "export", "--output", str(file)).exit_code == 0
    assert file.stat().st_mode & 0o077 == 0
    for arguments in (
        ("events", "list"),
        ("events", "list", "--json"),
        ("events", "show", record.id),
        ("events", "show", record.id, "--json"),
        ("events", "show", HOSTILE),
        ("events", "export"),
        ("dead", "list"),
        ("dead", "list", "--json"),
        ("dead", "show", record.id),
        ("dead", "show", record.id, "--json"),
        ("dead", "show", HOSTILE),
        ("audit",),
        ("handlers",),
        (HOSTILE,),
        ("dead", "list", f"--{HOSTILE}"),
        ("replay", HOSTILE),
    ):
        done = console(*arguments)
        assert_safe(done.out)
        assert_safe(done.err)
    [listed] = console("events", "list", "--json").json
    assert listed["type"] == f"odd.{HOSTILE}"


def test_the_traceback_of_an_event_is_shown(console: Console) -> None:
    """`events show` has the traceback of a handler that failed, which begins in the user's code; lists do not."""
    module = console.plug_in('@on("*", attempts=1)\nasync def broken(event, ctx):\n    raise KeyError("crm")\n')
    [record] = console.receive("contact.replied")
    console.work()
    shown = console("events", "show", record.id).out
    assert f"{module}.broken failed:" in shown
    assert f"{module}.py" in shown
    assert "  KeyError: 'crm'" in shown
    assert "dispatcher.py" not in shown
    details = console("events", "show", record.id, "--json").json
    assert details["handlers"][f"{module}.broken"]["traceback"].startswith("Traceback")
    [listed] = console("events", "list", "--json").json
    assert "traceback" not in listed["handlers"][f"{module}.broken"]


@pytest.mark.parametrize("full", [False, True])
def test_the_first_failure_is_logged_with_its_traceback(
    console: Console, capsys: pytest.CaptureFixture[str], *, full: bool
) -> None:
    """The log has the traceback of the first attempt only: the user's part of it, or all of it as in `dev`."""
    console.setting("LOG_FORMAT", "json")
    module = console.plug_in(
        '@on("*", attempts=2, backoff=0.001)\ndef broken(event, ctx):\n    raise KeyError("crm")\n'
    )
    console.receive("contact.replied")
    capsys.readouterr()
    assert run(["worker", "--burst", *(["--full-tracebacks"] if full else [])]) == 0
    logged = capsys.readouterr().err
    assert logged.count('"handler.failed"') == 2
    assert logged.count("Traceback") == 1
    assert f"{module}.py" in logged
    assert ("dispatcher.py" in logged) == full


@pytest.mark.parametrize(
    "arguments",
    [["events", "list"], ["dead", "list"], ["events", "import", "/dev/null"], ["audit"], ["events", "tail"], ["serve"]],
    ids=" ".join,
)
def test_a_data_folder_that_cannot_be_used_is_one_sentence(
    console: Console, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Each command names the folder in one sentence, and ends with exit code 2."""
    Path("file").touch()
    monkeypatch.delenv("KONVOX_REDIS_URL")
    console.setting("DATA_DIR", "file/data")
    console.setting("HOOK_TOKENS", "a-token-for-the-tests-of-folders-123")
    done = console(*arguments)
    assert done.exit_code == 2
    [sentence] = done.err.splitlines()
    assert "file/data" in sentence
