"""`konvox-hooks dead`: list, show, retry and drop dead letters. A dead letter stays until an operator does that."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

import click

from broker import dead_letters
from broker.dead_letters import DeadLetter
from broker.errors import MalformedRecordError
from broker.records import Job, Record
from broker.redis.client import outages_as_unavailable
from broker.redis.commands import Server
from handlers.registry import Handler
from konvox_hooks.config.handlers import load_handlers
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.history.open_store import open_store
from konvox_hooks.terminal.formatting import (
    example,
    say,
    shown_block,
    shown_body,
    shown_line,
    shown_time,
    users_traceback,
)
from konvox_hooks.terminal.output import complain, print_json, print_table

_BATCH_LETTERS = 200
"""The most letters of one script call: limits how long it keeps Redis busy."""

_EVERYTHING_HELP = "All dead letters that exist at this moment."

Change = Callable[[Server, Sequence[DeadLetter]], Awaitable[int]]
"""Retries or drops letters; returns how many still existed."""


@dataclass(slots=True)
class Selection:
    """The dead letters that the command line names.

    Attributes:
        letters: the dead letters, each once.
        unknown: the ids that name none.
    """

    letters: list[DeadLetter] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@click.group()
def command() -> None:
    """List, show, retry and drop dead letters.

    A dead letter is an event with a handler that failed in all its attempts. It is never deleted by time.
    """


@command.command("list", epilog=example("dead list", "dead list --limit 1000 --json"))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def list_letters(*, limit: int, as_json: bool) -> None:
    """List the dead letters, newest first.

    Each with its event, its handler and the reason.
    """
    letters = asyncio.run(_list(load_settings(), limit))
    if as_json:
        print_json([_as_json(letter) for letter in letters])
    else:
        columns = ("ID", "TYPE", "HANDLER", "REASON", "ATTEMPTS", "DIED", "ERROR")
        print_table(columns, map(_as_row, letters))


@command.command("show", epilog=example("dead show evt_svebfsglmujflocol44g466tyr"))
@click.argument("letter_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of text.")
def show_letters(*, letter_id: str, as_json: bool) -> None:
    """Show a dead letter, or all dead letters of an event.

    With the error, the traceback, and the event's body. ID is the id of a dead letter or of an event.
    """
    letters = _require(asyncio.run(_find(load_settings(), [letter_id]))).letters
    if as_json:
        print_json([_as_full_json(letter) for letter in letters])
        return
    for position, letter in enumerate(letters):
        say("" if position == 0 else "\n" + "─" * 40 + "\n")
        _print_letter(letter)


@command.command(
    "retry",
    epilog=example(
        "dead retry evt_svebfsglmujflocol44g466tyr",
        "dead retry --all",
        "dead retry --all --handler my_handlers.tell_crm",
    ),
)
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help=_EVERYTHING_HELP)
@click.option("--handler", "name", metavar="NAME", help="Give the work to this handler, if it wants such events.")
def retry_letters(*, ids: tuple[str, ...], everything: bool, name: str | None) -> None:
    """Retry dead letters: run their handlers again, with all attempts.

    An ID is that of a dead letter, or of an event for all of its dead letters. Only the handlers that failed run again,
    or the one that --handler names, such as one that took the place of another.
    """
    settings = load_settings()
    heir = None if name is None else _loaded_handler(settings, name)
    found = _select(settings, ids, everything=everything)
    ready = []
    for letter in found.letters:
        if _job_of(letter) is None:
            complain(
                f"{shown_line(letter.id)} cannot be retried, because its job is gone; if the log still holds the "
                f"event, `konvox-hooks replay {letter.event_id} --to queue` runs it again; then drop the letter"
            )
        elif heir is not None and not heir.wants(letter.event_type):
            complain(f"{shown_line(letter.id)} stays: {heir.name} does not want {shown_line(letter.event_type)}")
        else:
            ready.append(letter)

    async def retry(server: Server, letters: Sequence[DeadLetter]) -> int:
        return await dead_letters.retry(server, letters, heir=None if heir is None else heir.name)

    say(f"retried {asyncio.run(_change(settings, ready, retry))} of {len(found.letters)} dead letters")
    if len(ready) < len(found.letters) or found.unknown:
        raise Failed(f"{len(found.letters) - len(ready) + len(found.unknown)} not retried")


def _loaded_handler(settings: Settings, name: str) -> Handler:
    """The handler of this name, or that had it before.

    Raises:
        UsageError: there is none: a job for it would fail until it is a dead letter again.
    """
    # A module of handlers may print while it is imported; stdout is for the result.
    with redirect_stdout(sys.stderr):
        registry = load_handlers(settings).registry
    handler = registry.get(name)
    if handler is None:
        known = ", ".join(each.name for each in registry)
        raise UsageError(f"no handler is named {shown_line(name)}; there are: {known}")
    return handler


@command.command("drop", epilog=example("dead drop evt_svebfsglmujflocol44g466tyr", "dead drop --all --yes"))
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help=_EVERYTHING_HELP)
@click.option("--yes", is_flag=True, help="Do not ask. Required without a terminal.")
def drop_letters(*, ids: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Delete dead letters for good. The ledger counts them as dropped.

    Each ID is the id of a dead letter, or of an event for all its dead letters.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("dead letters would be deleted for good, and there is no terminal to ask on: add --yes")
    settings = load_settings()
    selection = _select(settings, ids, everything=everything)
    letters = selection.letters
    if letters and not yes and not click.confirm(f"Drop {len(letters)} dead letters for good?", err=True):
        raise Failed("nothing was dropped")
    retention_ms = settings.log_retention_seconds * 1000

    async def drop(server: Server, letters: Sequence[DeadLetter]) -> int:
        return await dead_letters.drop(server, letters, retention_ms=retention_ms)

    say(f"dropped {asyncio.run(_change(settings, letters, drop))} of {len(letters)} dead letters")
    if selection.unknown:
        raise Failed(f"{len(selection.unknown)} not dropped")


def _select(settings: Settings, ids: Sequence[str], *, everything: bool) -> Selection:
    """Find the dead letters that the command line names, and report unknown ids on stderr.

    Raises:
        UsageError: it names none, or both ids and all.
        Failed: all ids are unknown.
    """
    if bool(ids) == everything:
        raise UsageError("name the dead letters, or all of them with --all (see `konvox-hooks dead list`)")
    if everything:
        return Selection(asyncio.run(_list(settings, None)))
    return _require(asyncio.run(_find(settings, ids)))


def _require(selection: Selection) -> Selection:
    for unknown in selection.unknown:
        complain(f"no dead letter {shown_line(unknown)}, and none of an event with that id")
    if not selection.letters:
        raise Failed("nothing found: `konvox-hooks dead list` shows all dead letters")
    return selection


async def _list(settings: Settings, limit: int | None) -> list[DeadLetter]:
    async with open_store(settings) as server:
        with outages_as_unavailable():
            # Without tracebacks: they take most of the memory, and no listing shows them.
            return [
                replace(letter, traceback="") async for letter in dead_letters.list_dead_letters(server, limit=limit)
            ]


async def _find(settings: Settings, ids: Sequence[str]) -> Selection:
    letters: dict[str, DeadLetter] = {}
    unknown: list[str] = []
    async with open_store(settings) as server:
        with outages_as_unavailable():
            for wanted in dict.fromkeys(ids):
                found = await dead_letters.find_dead_letters(server, wanted)
                letters |= {letter.id: letter for letter in found}
                if not found:
                    unknown.append(wanted)
    return Selection(list(letters.values()), unknown)


async def _change(settings: Settings, letters: Sequence[DeadLetter], change: Change) -> int:
    changed = 0
    if not letters:
        return changed
    async with open_store(settings) as server:
        with outages_as_unavailable():
            for first in range(0, len(letters), _BATCH_LETTERS):
                changed += await change(server, letters[first : first + _BATCH_LETTERS])
    return changed


def _job_of(letter: DeadLetter) -> Job | None:
    """The job to retry; None if it was removed from Redis, or is not ours."""
    try:
        return Job.from_bytes(letter.job.encode())
    except MalformedRecordError:
        return None


def _record_of(letter: DeadLetter) -> Record | None:
    job = _job_of(letter)
    return None if job is None else job.record


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "event_id": letter.event_id,
        "type": letter.event_type,
        "handler": letter.handler,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "died_at": shown_time(letter.died_at_ms),
        "error": letter.error,
    }


def _as_full_json(letter: DeadLetter) -> dict[str, Any]:
    record = _record_of(letter)
    received_at = None if record is None else shown_time(record.received_at_ms)
    body = None if record is None else record.body
    return {**_as_json(letter), "traceback": letter.traceback, "received_at": received_at, "body": body}


def _as_row(letter: DeadLetter) -> tuple[object, ...]:
    died = shown_time(letter.died_at_ms)
    return letter.id, letter.event_type, letter.handler, letter.reason, letter.attempts, died, letter.error


def _print_letter(letter: DeadLetter) -> None:
    record = _record_of(letter)
    facts = {
        "id": letter.id,
        "type": letter.event_type,
        "handler": letter.handler,
        "reason": f"{letter.reason} ({letter.attempts} attempts)",
        "died": shown_time(letter.died_at_ms),
        "received": None if record is None else shown_time(record.received_at_ms),
        "error": letter.error,
    }
    for name, value in facts.items():
        if value:
            say(shown_line(f"{name}: {value}"))
    traceback = users_traceback(letter.traceback)
    if traceback:
        say(f"\n{shown_block(traceback, indent=2)}")
    say("\nits body is gone" if record is None else f"\n{shown_body(record.body)}")
