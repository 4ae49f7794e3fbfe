"""The command line `konvox-hooks`: find the command, run it, return its exit code.

`main` is the entry point, and `python -m konvox_hooks` calls it too. A command's module is imported only to run the
command or to show its help: `--help` and a mistyped command answer at once, without aiohttp, arq, pydantic or redis.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from konvox_hooks.safe_text import safe_line, safe_lines
from konvox_hooks.shadowing import HANDLERS_NEED, ONLY_COMMANDS_NEED, check_visible
from konvox_hooks.terminal.output import PROGRAM, complain
from konvox_hooks.terminal.progress import INTERRUPTED, end_on_ctrl_c, forget, how_far

_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC}
)
"""Why the system does not let a path be used. Most of them are a data folder of somebody else."""

_WRONG_USAGE = 2
_LONGEST_TRACEBACK_CHARACTERS = 20_000
_BROKEN_PIPE = 141
_FORCED_EXIT = "konvox_hooks.process.forced_exit"


class CommandEntry(NamedTuple):
    """What the table says about a command without importing it.

    Attributes:
        module: the module below `konvox_hooks` whose `command` is the click command.
        summary: its line in `konvox-hooks --help`.
        example: an example for the end of its own help, without the program's name.
    """

    module: str
    summary: str
    example: str


COMMANDS: dict[str, CommandEntry] = {
    "demo": CommandEntry("commands.demo", "See the whole product work in under a minute.", "demo"),
    "init": CommandEntry("commands.init", "Make a first handler, its test and its settings.", "init my-hooks"),
    "dev": CommandEntry("service.commands.dev", "Run everything, and reload handlers that change.", "dev --sandbox"),
    "serve": CommandEntry("service.commands.serve", "Run receiver and worker on one machine.", "serve"),
    "receiver": CommandEntry("service.commands.receiver", "Receive events from Konvox.", "receiver"),
    "worker": CommandEntry("service.commands.worker", "Run your handlers on pending events.", "worker --burst"),
    "register": CommandEntry("commands.register", "Tell Konvox where to send events.", "register"),
    "api": CommandEntry("commands.api", "Call the Konvox API by hand.", "api campaigns list"),
    "sandbox": CommandEntry("commands.sandbox", "Run a local Konvox to try things with.", "sandbox"),
    "trigger": CommandEntry("commands.trigger", "Send a sample event.", "trigger contact.replied"),
    "handlers": CommandEntry("commands.handlers", "Show which handlers want which events.", "handlers"),
    "events": CommandEntry("commands.events", "List, export and import events.", "events list --json"),
    "dead": CommandEntry("commands.dead", "List, retry and drop dead letters.", "dead list"),
    "replay": CommandEntry("commands.replay", "Run handlers again on past events.", "replay --help"),
    "audit": CommandEntry("commands.audit", "Prove that no event has disappeared.", "audit"),
    "adopt": CommandEntry("commands.adopt", "Make a store this installation's.", "adopt"),
    "doctor": CommandEntry("commands.doctor", "Check everything, and say how to fix faults.", "doctor"),
    "config": CommandEntry("commands.config", "Show the settings in effect, secrets masked.", "config --json"),
}
"""Every command, in the order in which a new user needs them."""

_ERROR_MODULES = frozenset(
    f"{room}.errors" for room in ("konvox", "broker", "handlers", "worker", "receiver", "konvox_hooks")
)
_OUR_TEXTS = frozenset({"handlers.errors", "konvox_hooks.errors", "broker.errors", "konvox_hooks.config.env_file"})
"""Whose messages may have several lines. The others quote Konvox, a server or an event: they are put on one line."""

_LIBRARY_ERRORS = frozenset({("redis.exceptions", "ConnectionError"), ("redis.exceptions", "TimeoutError")})


class CommandsOnDemand(click.Group):
    """A click group that takes its commands from `COMMANDS` and imports a command's module when it is needed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. If the reader of stdout has gone, as in `events list | head`, end silently."""
        try:
            outcome = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
            ctx.exit(_BROKEN_PIPE)
        return outcome

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a mistyped one gets "did you mean", as click itself says it in the other groups."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the table's order."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None if there is no such command."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        check_visible(*HANDLERS_NEED, *ONLY_COMMANDS_NEED)
        command: click.Command = import_module(f"konvox_hooks.{entry.module}").command
        if command.epilog is None:
            command.epilog = f"\b\nExample:\n  {PROGRAM} {entry.example}"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries from the table, without importing any command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=CommandsOnDemand,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "\b\nExamples:\n"
        f"  {PROGRAM} demo                     see everything work, without an account\n"
        f"  {PROGRAM} serve                    receive events and run your handlers\n"
        f"  {PROGRAM} trigger contact.replied  send a sample event\n"
        f"  {PROGRAM} COMMAND --help           what a command does, with an example\n"
        "\n\b\n"
        "Settings come from the environment and from .env: see `konvox-hooks config`.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 something needs a person."
    ),
)
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM)
def program() -> None:
    """Receive Konvox webhooks, keep every event safe, and run your Python handlers on them."""


def main() -> None:
    """The entry point `konvox-hooks`."""
    if sys.platform == "win32":
        complain("it runs on Linux and macOS; on Windows use WSL 2 or Docker, see deploy/README.md")
        sys.exit(_WRONG_USAGE)
    end_on_ctrl_c(complain)
    try:
        exit_code = run(sys.argv[1:])
    except Exception:  # noqa: BLE001 - shown with its traceback, as Python itself would
        click.echo(_safe_traceback().encode(), err=True)
        exit_code = 1
    if _FORCED_EXIT in sys.modules:  # only commands that may run users' code import it
        sys.modules[_FORCED_EXIT].exit_process(exit_code)
    sys.exit(exit_code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Raises errors that are not ours."""
    forget()
    try:
        outcome = program.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(safe_lines(shown.getvalue().rstrip("\n")).encode(), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain(f"stopped by Ctrl-C{how_far()}")
        return INTERRUPTED
    except Exception as error:
        if path := _unusable_path(error):
            complain(path)
            return _WRONG_USAGE
        known = _known_error(error)
        if known is None:
            raise
        quotes_others = type(known).__module__ not in _OUR_TEXTS
        complain(safe_line(str(known)) if quotes_others else str(known))
        return getattr(known, "exit_code", 1)
    return _exit_code(outcome)


def _exit_code(outcome: Any) -> int:
    # click returns the argument of `ctx.exit()`, or what the command returned.
    return outcome if isinstance(outcome, int) else 0


def _known_error(error: BaseException) -> BaseException | None:
    """The error to show without a traceback, or None. It is recognised by its module: importing them would be slow."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    for kind in type(error).__mro__:
        if kind.__module__ in _ERROR_MODULES or (kind.__module__, kind.__qualname__) in _LIBRARY_ERRORS:
            return error
    return None


def _unusable_path(error: BaseException) -> str:
    """What the system refused, and for which path; empty if the error is of another kind."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _REFUSALS:
        return ""
    return f"{safe_line(str(error.filename))} cannot be used: {error.strerror}"


def _safe_traceback() -> str:
    """The traceback of the present error, bounded. It is indented, because an error's text may have lines."""
    text = "".join(traceback.format_exception(*sys.exc_info())).rstrip()
    half = _LONGEST_TRACEBACK_CHARACTERS // 2
    if len(text) > 2 * half:
        text = f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"
    return f"{PROGRAM}: {safe_lines(text, indent='  ').lstrip()}"


def _discard_output() -> None:
    # Python flushes stdout again at its end, and would report the broken pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
