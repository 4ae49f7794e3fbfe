"""`konvox-hooks events`: list, show and follow the events in the log, export them to a file, import them from one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import click

from broker.errors import BrokerUnavailableError
from broker.event_log import LoggedEvent, events, find_events
from broker.records import Job, Record
from broker.redis.client import outages_as_unavailable
from broker.redis.commands import Server
from handlers.registry import matches
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import Failed
from konvox_hooks.history.jsonl import AdmissionCounts, admit_all, atomic_file, captured_events
from konvox_hooks.history.open_store import open_store, watched_store
from konvox_hooks.history.tail import tail
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.process.signals import on_stop_signal
from konvox_hooks.safe_text import safe_json
from konvox_hooks.terminal.formatting import (
    example,
    say,
    shown_block,
    shown_body,
    shown_line,
    shown_outcome,
    shown_time,
)
from konvox_hooks.terminal.output import print_json, print_table

_TYPE_HELP = "Only events of this type; * stands for any characters."


@click.group()
def command() -> None:
    """List received events and the outcomes of their handlers; export and import events.

    The log keeps an event for KONVOX_LOG_RETENTION_SECONDS. Pending events and dead letters are kept beyond that.
    """


@command.command("list", epilog=example("events list", "events list --state dead --type 'enrollment.*' --json"))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most to show.")
@click.option("--type", "pattern", metavar="TYPE", default="*", help=_TYPE_HELP)
@click.option(
    "--state",
    type=click.Choice(["pending", "delivered", "dead", "dropped"]),
    help="Only events in this state.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def list_events(*, limit: int, pattern: str, state: str | None, as_json: bool) -> None:
    """List the events in the log, newest first.

    Each with its state and the outcome of each handler. A replay has a line of its own: its id is the event's id with a
    suffix.
    """

    def wanted(logged: LoggedEvent) -> bool:
        return matches(pattern, logged.record.type) and state in {None, logged.state}

    found = asyncio.run(_list(load_settings(), limit, wanted))
    if as_json:
        print_json([_as_json(logged) for logged in found])
    else:
        print_table(("ID", "TYPE", "RECEIVED", "STATE", "REPLAYED", "HANDLERS"), map(_as_row, found))


@command.command("show", epilog=example("events show evt_svebfsglmujflocol44g466tyr"))
@click.argument("event_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def show_event(*, event_id: str, as_json: bool) -> None:
    """Show everything about one event.

    With its body, the outcomes of its handlers, and its replays. The id of a replay, from `events list`, shows that
    replay only.
    """
    first, *others = sorted(asyncio.run(_find(load_settings(), event_id)), key=lambda logged: logged.replayed)
    if as_json:
        request = {"headers": first.record.headers, "body": first.record.body}
        replays = [_as_json(other, tracebacks=True) for other in others]
        print_json({**_as_json(first, tracebacks=True), **request, "replays": replays})
    else:
        _print_event(first, others)


@command.command("tail", epilog=example("events tail", "events tail --type contact.replied --json"))
@click.option("--last", type=click.IntRange(min=0), default=10, show_default=True, help="Past events to begin with.")
@click.option("--type", "pattern", metavar="TYPE", default="*", help=_TYPE_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
def tail_events(*, last: int, pattern: str, as_json: bool) -> None:
    """Follow the log: show the last few events, then each new one, until Ctrl-C.

    An event's state is that of the moment when it is shown, which is pending as a rule. While Redis is away, or `serve`
    is not running, this waits; then it continues with the next event.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    show = _show_json if as_json else _show_line
    asyncio.run(_tail(settings, lambda logged: matches(pattern, logged.record.type), last, show))


@command.command(
    "export", epilog=example("events export --output events.jsonl", "events export | gzip > events.jsonl.gz")
)
@click.option("--type", "pattern", metavar="TYPE", default="*", help=_TYPE_HELP)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to a file instead of stdout.")
def export_events(*, pattern: str, output: Path | None) -> None:
    """Write the events in the log as JSON Lines.

    Oldest first, each event once. The lines can be imported and replayed. A file appears complete or not at all, and
    only you can read it, because events are about people.
    """
    settings = load_settings()
    if output is None:
        asyncio.run(_export(settings, pattern, sys.stdout.buffer))
        return
    with atomic_file(output) as stream:
        count = asyncio.run(_export(settings, pattern, stream))
    say(f"exported {count} to {shown_line(str(output))}")


@command.command("import", epilog=example("events import events.jsonl", "events import - < events.jsonl"))
@click.argument("file")
def import_events(*, file: str) -> None:
    """Import events from JSON Lines (- for stdin).

    They are handled as if Konvox had sent them: handlers run on new events. A line is one that `events export` wrote,
    or only the body of a request. Events that were received within KONVOX_DEDUPE_SECONDS are recognised as duplicates.
    Exit code 1: some lines could not be read and were skipped.
    """
    settings = load_settings()
    counts = AdmissionCounts()
    with captured_events(file) as captured:
        try:
            asyncio.run(_import(settings, map(Job.first, captured), counts))
        except BrokerUnavailableError as error:
            hint = "import the file again: the accepted events will be recognised as duplicates"
            raise Failed(f"{error} (after {counts.accepted} accepted); {hint}") from None
    say(f"accepted {counts.accepted}, duplicates {counts.duplicates}, faulty {captured.faulty}")
    if captured.fault:
        raise Failed(captured.fault)


async def _list(settings: Settings, limit: int, wanted: Callable[[LoggedEvent], bool]) -> list[LoggedEvent]:
    found: list[LoggedEvent] = []
    async with open_store(settings) as server, aclosing(_all(server)) as log:
        async for logged in log:
            if wanted(logged):
                found.append(logged)
                if len(found) == limit:
                    break
    return found


async def _tail(
    settings: Settings, wanted: Callable[[LoggedEvent], bool], last: int, show: Callable[[LoggedEvent], None]
) -> None:
    stop = asyncio.Event()

    async def follow() -> None:
        async with watched_store(settings) as server:
            async for logged in tail(server, wanted, last=last, stop=stop):
                show(logged)

    follower = asyncio.ensure_future(follow())

    def end() -> None:
        stop.set()
        follower.cancel()

    on_stop_signal(end)
    with suppress(asyncio.CancelledError):
        await follower


def _show_json(logged: LoggedEvent) -> None:
    print_json(_as_json(logged))


def _show_line(logged: LoggedEvent) -> None:
    cells = (shown_time(logged.record.received_at_ms), logged.delivery, logged.state, logged.record.type)
    separator = "  " if sys.stdout.isatty() else "\t"
    say(separator.join(map(shown_line, cells)))


async def _find(settings: Settings, event_id: str) -> list[LoggedEvent]:
    async with open_store(settings) as server:
        with outages_as_unavailable():
            found = await find_events(server, event_id)
    if not found:
        raise Failed(
            f"the log holds no event {shown_line(event_id)}: `konvox-hooks events list` shows all that it holds; "
            "delivered events are kept for KONVOX_LOG_RETENTION_SECONDS"
        )
    return found


async def _export(settings: Settings, pattern: str, stream: BinaryIO) -> int:
    written: set[str] = set()
    async with open_store(settings) as server, aclosing(_all(server, oldest_first=True)) as log:
        async for logged in log:
            record: Record = logged.record
            if record.id not in written and matches(pattern, record.type):
                written.add(record.id)
                stream.write(safe_json(record.to_line().decode()).encode() + b"\n")
    return len(written)


async def _import(settings: Settings, jobs: Iterable[Job], counts: AdmissionCounts) -> None:
    async with open_store(settings, may_be_new=True) as server:
        await admit_all(server, settings, jobs, counts)


async def _all(server: Server, *, oldest_first: bool = False) -> AsyncGenerator[LoggedEvent, None]:
    """The events of the log. Only errors of its own reads become an outage, not errors of the caller's file or pipe."""
    with outages_as_unavailable():
        async for logged in events(server, oldest_first=oldest_first):
            yield logged


def _as_json(logged: LoggedEvent, *, tracebacks: bool = False) -> dict[str, Any]:
    hidden = set() if tracebacks else {"traceback"}
    outcomes = {
        name: {field: value for field, value in outcome.items() if field not in hidden}
        for name, outcome in logged.outcomes.items()
    }
    return {
        "id": logged.delivery,
        "event_id": logged.record.id,
        "type": logged.record.type,
        "received_at": shown_time(logged.record.received_at_ms),
        "state": logged.state,
        "replayed": logged.replayed,
        "handlers": {name: shown_outcome(outcome) for name, outcome in outcomes.items()},
    }


def _as_row(logged: LoggedEvent) -> tuple[object, ...]:
    handlers = ", ".join(f"{name} {_summary(outcome)}" for name, outcome in logged.outcomes.items())
    received = shown_time(logged.record.received_at_ms)
    replayed = "yes" if logged.replayed else None
    return logged.delivery, logged.record.type, received, logged.state, replayed, handlers


def _summary(outcome: dict[str, Any]) -> str:
    attempts = outcome["attempts"]
    return str(outcome["state"]) if attempts == 1 else f"{outcome['state']} ({attempts} attempts)"


def _print_event(first: LoggedEvent, others: list[LoggedEvent]) -> None:
    record = first.record
    facts = {
        "id": first.delivery,
        "type": record.type,
        "received": shown_time(record.received_at_ms),
        "state": f"{first.state} (a replay)" if first.replayed else first.state,
        **{f"header {name}": value for name, value in record.headers.items()},
    }
    for name, value in facts.items():
        say(shown_line(f"{name}: {value}"))
    for logged in (first, *others):
        _print_outcomes(logged)
    say(f"\n{shown_body(record.body)}")


def _print_outcomes(logged: LoggedEvent) -> None:
    """The outcomes of the handlers, and the traceback of each attempt that failed last."""
    say("")
    say(shown_line(f"handlers of {logged.delivery}{', a replay: ' if logged.replayed else ': '}{logged.state}"))
    if logged.outcomes:
        columns = ("HANDLER", "STATE", "ATTEMPTS", "AT", "ERROR")
        print_table(columns, [_outcome_row(name, outcome) for name, outcome in logged.outcomes.items()])
    for name, outcome in logged.outcomes.items():
        if trace := outcome.get("traceback"):
            say("")
            say(shown_line(f"{name} failed:"))
            say(shown_block(str(trace), indent=2))


def _outcome_row(handler: str, outcome: dict[str, Any]) -> tuple[object, ...]:
    return handler, outcome["state"], outcome["attempts"], shown_time(outcome["at_ms"]), outcome.get("error")
