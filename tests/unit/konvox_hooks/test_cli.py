"""Tests of the command line: how commands are found, and how their ends become exit codes."""

from __future__ import annotations

import re
from importlib import import_module

import click
import pytest

from broker.errors import BrokerUnavailableError
from handlers.errors import HandlerLoadError
from konvox.errors import MalformedEventError
from konvox_hooks import cli
from konvox_hooks.cli import COMMANDS, CommandEntry, run
from konvox_hooks.errors import CommandError, Failed, NeedsAttention, UsageError


class FakeModule:
    """Replaces a command's module: its `command` raises or returns what the test chooses."""

    def __init__(self, outcome: object) -> None:
        @click.command()
        def command() -> object:
            """Raise or return what the test chose."""
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        self.command = command


def run_with(monkeypatch: pytest.MonkeyPatch, outcome: object) -> int:
    """Run a command that ends with this outcome."""
    monkeypatch.setitem(COMMANDS, "audit", CommandEntry("stand", "Stands in.", "audit"))
    monkeypatch.setattr(cli, "import_module", lambda _: FakeModule(outcome))
    return run(["audit"])


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (CommandError("it broke"), 1),
        (Failed("it broke"), 1),
        (UsageError("it broke"), 2),
        (NeedsAttention("it broke"), 3),
        (HandlerLoadError("mine.py", "it broke"), 2),
        (BrokerUnavailableError("it broke"), 1),
        (MalformedEventError("it broke"), 1),
        (ExceptionGroup("group", [ExceptionGroup("inner", [Failed("it broke")])]), 1),
    ],
)
def test_known_errors_are_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, exit_code: int
) -> None:
    """A known error is a message on stderr without a traceback, and an exit code."""
    assert run_with(monkeypatch, error) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("konvox-hooks: ")
    assert captured.err.endswith("it broke\n")


def test_an_unforeseen_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is raised with its traceback."""
    with pytest.raises(ZeroDivisionError):
        run_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ExceptionGroup):
        run_with(monkeypatch, ExceptionGroup("two", [Failed("a"), Failed("b")]))


@pytest.mark.parametrize(
    ("outcome", "exit_code"), [(None, 0), ("text", 0), (KeyboardInterrupt(), 130), (click.Abort(), 130)]
)
def test_how_a_command_ends_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, outcome: object, exit_code: int) -> None:
    """A command that is done ends with exit code 0, and Ctrl-C with 130."""
    assert run_with(monkeypatch, outcome) == exit_code


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["audit", "--nonsense"], []])
def test_wrong_usage_is_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Unknown commands and options, and a missing command, are explained on stderr."""
    monkeypatch.setattr(cli, "import_module", lambda _: FakeModule(None))
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: konvox-hooks" in captured.err


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """The help shows each line of the table, in the table's order."""
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    listed = re.findall(r"^  ([a-z]+)  +([A-Z].*\.)$", shown, re.MULTILINE)
    assert listed == [(name, entry.summary) for name, entry in COMMANDS.items()]
    assert "Examples:" in shown


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and its version."""
    assert run(["--version"]) == 0
    assert re.fullmatch(r"konvox-hooks, version \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_shows_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each command's module exists and has a click command whose help ends with an example."""
    assert isinstance(import_module(f"konvox_hooks.{COMMANDS[name].module}").command, click.Command)
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: konvox-hooks {name}")
    assert "Example" in shown
    assert f"  konvox-hooks {name}" in shown


def test_a_path_that_cannot_be_used_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that the system refuses is named in one sentence, with exit code 2 and without a traceback."""
    refused = ExceptionGroup("tasks", [PermissionError(13, "Permission denied", "/data/\x1b[2Jx")])
    assert run_with(monkeypatch, refused) == 2
    assert capsys.readouterr().err == "konvox-hooks: /data/ [2Jx cannot be used: Permission denied\n"


def test_a_message_of_konvox_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error that quotes Konvox cannot begin a line of its own."""
    assert run_with(monkeypatch, MalformedEventError("x\nkonvox-hooks: all is well\x9b2J")) == 1
    assert capsys.readouterr().err == "konvox-hooks: not a Konvox event: x konvox-hooks: all is well 2J\n"


def test_an_unexpected_error_is_a_safe_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback of an unexpected error is bounded, and each of its lines is safe and indented."""
    monkeypatch.setitem(COMMANDS, "audit", CommandEntry("stand", "Stands in.", "audit"))
    monkeypatch.setattr(cli, "import_module", lambda _: FakeModule(RuntimeError("x\nFORGED\x1b[2J" + "y" * 1_000_000)))
    monkeypatch.setattr("sys.argv", ["konvox-hooks", "audit"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert len(shown) < 30_000
    assert shown.replace("\n", "").isprintable()
    first, *others = shown.removesuffix("\n").split("\n")
    assert first == "konvox-hooks: Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in others)
