"""`konvox-hooks events`: list, show and follow the events in the log, export them to a file, import them from one."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import click

from broker.errors import BrokerUnavailableError
from broker.event_log import LoggedEvent, count_events, events, find_events
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
from konvox_hooks.registration.event_names import did_you_mean
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
from konvox_hooks.terminal.outcomes import print_outcomes
from konvox_hooks.terminal.output import ACCOUNT_COLUMN, complain, print_json, print_table, report_shown
from konvox_hooks.terminal.progress import interruptible, progress

_TYPE_HELP = "Only events of this type; * stands for any characters."


_IMPORT_AGAIN: Final = "import the file again: the accepted events will be recognised as duplicates"

_COUNT_SECONDS: Final = 2.0
"""How long a listing with a filter goes on counting what it does not show."""


class _Listing(NamedTuple):
    """What `events list` shows, and how many there are.

    Attributes:
        events: the newest ones.
        total: how many there are in all.
        all_seen: False if there may be more, because counting was given up.
    """

    events: list[LoggedEvent]
    total: int
    all_seen: bool = True


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

    settings = load_settings()
    listing = asyncio.run(interruptible(_list(settings, limit, wanted, filtered=pattern != "*" or state is not None)))
    found = listing.events
    if as_json:
        print_json([_as_json(logged) for logged in found])
    else:
        columns = ("ID", "TYPE", "RECEIVED", "STATE", "REPLAYED", "HANDLERS", ACCOUNT_COLUMN)
        print_table(columns, map(_as_row, found), has_accounts=settings.accounts_file is not None)
    if not found and (question := did_you_mean(pattern)):
        complain(question)
    more = f"--limit {listing.total} shows all" if listing.all_seen else "--limit shows more"
    report_shown(len(found), listing.total, "events", more=more, all_seen=listing.all_seen)


@command.command("show", epilog=example("events show evt_svebfsglmujflocol44g466tyr"))
@click.argument("event_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def show_event(*, event_id: str, as_json: bool) -> None:
    """Show everything about one event.

    With its body, the outcomes of its handlers, and its replays. The id of a replay, from `events list`, shows that
    replay only.
    """
    first, *others = sorted(
        asyncio.run(interruptible(_find(load_settings(), event_id))), key=lambda logged: logged.replayed
    )
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
    show = _show_json if as_json else partial(_show_line, has_accounts=settings.accounts_file is not None)
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
    written: set[str] = set()
    if output is None:
        with progress(lambda: f"{len(written):,} exported"):
            asyncio.run(interruptible(_export(settings, pattern, sys.stdout.buffer, written)))
        return
    left = f"{shown_line(str(output))} is as it was before"
    with progress(lambda: f"{len(written):,} exported; {left}"), atomic_file(output) as stream:
        asyncio.run(interruptible(_export(settings, pattern, stream, written)))
    say(f"exported {len(written)} to {shown_line(str(output))}")


@command.command("import", epilog=example("events import events.jsonl.gz", "events import - < events.jsonl"))
@click.argument("file")
def import_events(*, file: str) -> None:
    """Import events from JSON (- for stdin).

    They are handled as if Konvox had sent them: handlers run on new events. A JSON object is one that `events export`
    wrote, or only the body of a request. There is one on each line, or they are indented over many lines, in an array
    or not. The file may be compressed with gzip. Events that were received within KONVOX_DEDUPE_SECONDS are recognised
    as duplicates. Exit code 1: something could not be read and was skipped.
    """
    settings = load_settings()
    counts = AdmissionCounts()
    with progress(lambda: f"{counts}; {_IMPORT_AGAIN}"), captured_events(file) as captured:
        try:
            asyncio.run(interruptible(_import(settings, map(Job.first, captured), counts)))
        except BrokerUnavailableError as error:
            raise Failed(f"{error} (after {counts.accepted} accepted); {_IMPORT_AGAIN}") from None
    say(f"{counts}, faulty {captured.faulty}")
    if captured.fault:
        raise Failed(captured.fault)


async def _list(settings: Settings, limit: int, wanted: Callable[[LoggedEvent], bool], *, filtered: bool) -> _Listing:
    """The newest wanted events, and how many there are: with a filter, as many as are found in `_COUNT_SECONDS`."""
    found: list[LoggedEvent] = []
    total = 0
    async with open_store(settings) as server, aclosing(_all(server)) as log:
        count_until = 0.0
        async for logged in log:
            if not wanted(logged):
                continue
            total += 1
            if total < limit:
                found.append(logged)
            elif total == limit:
                found.append(logged)
                if not filtered:
                    with outages_as_unavailable():
                        return _Listing(found, max(total, await count_events(server)))
                count_until = time.monotonic() + _COUNT_SECONDS
            elif time.monotonic() > count_until:
                return _Listing(found, total, all_seen=False)
    return _Listing(found, total)


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


def _show_line(logged: LoggedEvent, *, has_accounts: bool) -> None:
    record = logged.record
    cells = [shown_time(record.received_at_ms), logged.delivery, logged.state, record.type]
    if has_accounts or record.account:
        cells.append(record.account)
    separator = "  " if sys.stdout.isatty() else "\t"
    click.echo(separator.join(map(shown_line, cells)).encode())  # each cell is safe, and a tab is ours


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


async def _export(settings: Settings, pattern: str, stream: BinaryIO, written: set[str]) -> None:
    """Write each event once, and add its id to `written`."""
    async with open_store(settings) as server, aclosing(_all(server, oldest_first=True)) as log:
        async for logged in log:
            record: Record = logged.record
            if record.id not in written and matches(pattern, record.type):
                written.add(record.id)
                stream.write(safe_json(record.to_line().decode()).encode() + b"\n")


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
        "account": logged.record.account,
        "received_at": shown_time(logged.record.received_at_ms),
        "state": logged.state,
        "replayed": logged.replayed,
        "handlers": {name: shown_outcome(outcome) for name, outcome in outcomes.items()},
    }


def _as_row(logged: LoggedEvent) -> tuple[object, ...]:
    handlers = ", ".join(f"{name} {_summary(outcome)}" for name, outcome in logged.outcomes.items())
    received = shown_time(logged.record.received_at_ms)
    replayed = "yes" if logged.replayed else None
    record = logged.record
    return logged.delivery, record.type, received, logged.state, replayed, handlers, record.account


def _summary(outcome: dict[str, Any]) -> str:
    attempts = outcome["attempts"]
    return str(outcome["state"]) if attempts == 1 else f"{outcome['state']} ({attempts} attempts)"


def _print_event(first: LoggedEvent, others: list[LoggedEvent]) -> None:
    record = first.record
    facts = {
        "id": first.delivery,
        "type": record.type,
        **({"account": record.account} if record.account else {}),
        "received": shown_time(record.received_at_ms),
        "state": f"{first.state} (a replay)" if first.replayed else first.state,
        **{f"header {name}": value for name, value in record.headers.items()},
    }
    for name, value in facts.items():
        say(shown_line(f"{name}: {value}"))
    for logged in (first, *others):
        say("")
        say(shown_line(f"handlers of {logged.delivery}{', a replay: ' if logged.replayed else ': '}{logged.state}"))
        print_outcomes(logged.outcomes)
        for name, outcome in logged.outcomes.items():
            if trace := outcome.get("traceback"):
                say("")
                say(shown_line(f"{name} failed:"))
                say(shown_block(str(trace), indent=2))
    say(f"\n{shown_body(record.body)}")
