"""`konvox-hooks replay`: run handlers again on past events, in this process or by the workers."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from broker.errors import BrokerUnavailableError
from broker.event_log import find_events
from broker.records import Job, Record
from broker.redis.client import outages_as_unavailable
from handlers.loader import LoadedHandlers
from handlers.once import InMemoryOnce
from handlers.registry import Handler, Registry, matches
from konvox_hooks.config.handlers import konvox_access, load_handlers
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.history.jsonl import AdmissionCounts, admit_all, captured_events
from konvox_hooks.history.open_store import open_store
from konvox_hooks.process.forced_exit import run_to_end
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.terminal.formatting import example, say, shown_block, shown_line, users_traceback
from konvox_hooks.terminal.output import print_json
from worker.running.context import handler_contexts
from worker.running.dispatcher import Dispatcher
from worker.running.verdicts import HandlerRun

_EVENT_ID_START = "evt_"
_FAILED = {"failed", "unfit"}

OnReplayed = Callable[[Record, Sequence[HandlerRun]], None]
"""Called for each event after its handlers have run."""


@click.command(
    epilog=example(
        "replay events.jsonl",
        "replay events.jsonl --handler my_handlers.tell_sales --type contact.replied",
        "replay evt_svebfsglmujflocol44g466tyr --to queue",
    )
)
@click.argument("source", metavar="FILE|ID")
@click.option("--handler", "names", metavar="NAME", multiple=True, help="Run only this handler. Can be repeated.")
@click.option(
    "--to",
    "target",
    type=click.Choice(["local", "queue"]),
    default="local",
    show_default=True,
    help="local: in this process, once each, without Redis. queue: by the workers, with retries and dead letters.",
)
@click.option(
    "--type", "pattern", metavar="TYPE", default="*", help="Only events of this type; * stands for any characters."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(*, source: str, names: tuple[str, ...], target: str, pattern: str, as_json: bool) -> None:
    """Run handlers again on past events: on a file of `events export` (- for stdin), or on an event in the log.

    The effects of the handlers happen again. event.replayed is True; --to local does not know which ctx.once blocks
    ran before. The ID of an event in the log needs --to queue. Exit code 1: a handler failed, or some lines could not
    be read and were skipped.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    is_id = source.startswith(_EVENT_ID_START) and not Path(source).exists()
    if target == "local":
        if is_id:
            raise UsageError(
                "the ID of an event needs the workers: add --to queue; to run handlers in this process, export the "
                "event to a file first: konvox-hooks events export --output events.jsonl"
            )
        _replay_locally(settings, _handlers(settings, names), source, pattern, as_json=as_json)
        return
    registry = _handlers(settings, names).registry if names else None
    if is_id:
        _queue_logged_event(settings, registry, source, pattern, as_json=as_json)
    else:
        _queue_captured_events(settings, registry, source, pattern, as_json=as_json)


def _handlers(settings: Settings, names: Sequence[str]) -> LoadedHandlers:
    """The configured handlers, or those of them that `--handler` names.

    Raises:
        UsageError: no handler has one of these names.
    """
    # A module of handlers may print while it is imported, and stdout is for the result.
    with redirect_stdout(sys.stderr):
        loaded = load_handlers(settings)
    found = {name: loaded.registry.get(name) for name in names}
    unknown = [name for name, handler in found.items() if handler is None]
    if unknown:
        known = ", ".join(handler.name for handler in loaded.registry)
        raise UsageError(f"no handler is named {shown_line(', '.join(unknown))}; there are: {known}")
    if not names:
        return loaded
    # A handler that was renamed is found by its former names as well, and two of those may be named.
    chosen = list(dict.fromkeys(handler for handler in found.values() if handler is not None))
    needed = {handler.state_key for handler in chosen}
    lifespans = {key: lifespan for key, lifespan in loaded.lifespans.items() if key in needed}
    return LoadedHandlers(Registry(chosen), lifespans)


def _replay_locally(settings: Settings, loaded: LoadedHandlers, source: str, pattern: str, *, as_json: bool) -> None:
    stdout = sys.stdout
    events: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()

    def on_replayed(record: Record, runs: Sequence[HandlerRun]) -> None:
        counts["events"] += 1
        counts.update(_outcome(run) for run in runs)
        if as_json:
            events.append(_as_json(record, runs))
            return
        with redirect_stdout(stdout):
            _print_event(record, runs)

    with captured_events(source) as captured:
        records = (record for record in captured if matches(pattern, record.type))
        # Handlers may print too.
        with redirect_stdout(sys.stderr):
            run_to_end(_run_handlers(settings, loaded, records, on_replayed))
    totals = {name: counts[name] for name in ("done", "skipped", "dropped", "failed")}
    if as_json:
        print_json({"events": events, **totals, "faulty": captured.faulty})
    else:
        say(f"{counts['events']} events: {', '.join(f'{count} {name}' for name, count in totals.items())}")
    _conclude(f"{counts['failed']} attempts failed" if counts["failed"] else "", captured.fault)


async def _run_handlers(
    settings: Settings, loaded: LoadedHandlers, records: Iterable[Record], on_replayed: OnReplayed
) -> None:
    gates: defaultdict[tuple[str, str], InMemoryOnce] = defaultdict(InMemoryOnce)

    def once_gate(job: Job, handler: Handler) -> InMemoryOnce:
        return gates[job.record.id, handler.name]

    async with handler_contexts(loaded, konvox_access(settings), once_gate) as make_context:
        dispatcher = Dispatcher(loaded.registry, make_context)
        for record in records:
            wanted = loaded.registry.matching(record.type)
            on_replayed(record, await dispatcher.dispatch(Job.replay(record)) if wanted else [])


def _queue_captured_events(
    settings: Settings, registry: Registry | None, source: str, pattern: str, *, as_json: bool
) -> None:
    with captured_events(source) as captured:
        records = (record for record in captured if matches(pattern, record.type))
        queued = _queue(settings, _replays(records, registry))
    _print_queued(queued, captured.faulty, as_json=as_json)
    _conclude(captured.fault)


def _queue_logged_event(
    settings: Settings, registry: Registry | None, event_id: str, pattern: str, *, as_json: bool
) -> None:
    record = asyncio.run(_find(settings, event_id))
    records = [record] if matches(pattern, record.type) else []
    _print_queued(_queue(settings, _replays(records, registry)), 0, as_json=as_json)


def _print_queued(queued: int, faulty: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"queued": queued, "faulty": faulty})
    else:
        say(f"queued {queued}")


def _replays(records: Iterable[Record], registry: Registry | None) -> Iterator[Job]:
    """The jobs to queue: one for each event, or one for each named handler that wants it."""
    for record in records:
        if registry is None:
            yield Job.replay(record)
            continue
        for handler in registry.matching(record.type):
            yield Job.replay(record).for_handler(handler.name, attempt=1)


def _queue(settings: Settings, jobs: Iterable[Job]) -> int:
    counts = AdmissionCounts()

    async def admit() -> None:
        async with open_store(settings) as server:
            await admit_all(server, settings, jobs, counts)

    try:
        asyncio.run(admit())
    except BrokerUnavailableError as error:
        queued = f"{counts.accepted} were queued before; if you repeat this command, they run once more"
        raise Failed(f"{error}; {queued}" if counts.accepted else str(error)) from None
    return counts.accepted


async def _find(settings: Settings, event_id: str) -> Record:
    async with open_store(settings) as server:
        with outages_as_unavailable():
            found = await find_events(server, event_id)
    if not found:
        raise Failed(
            f"there is no file {shown_line(event_id)}, and the log holds no such event: "
            "`konvox-hooks events list` shows all that it holds"
        )
    return found[0].record


def _outcome(run: HandlerRun) -> str:
    return "failed" if run.ended in _FAILED else run.ended


def _as_json(record: Record, runs: Sequence[HandlerRun]) -> dict[str, Any]:
    handlers = [
        {
            "handler": run.handler,
            "outcome": _outcome(run),
            "duration_ms": round(run.duration_ms, 3),
            "error": run.error,
            "traceback": users_traceback(run.traceback),
        }
        for run in runs
    ]
    return {"id": record.id, "type": record.type, "handlers": handlers}


def _print_event(record: Record, runs: Sequence[HandlerRun]) -> None:
    say(shown_line(f"{record.id}  {record.type}"))
    if not runs:
        say("  no handler wants it")
    for run in runs:
        detail = f"  {run.error}" if run.error else f"  {run.duration_ms:.0f} ms"
        say(shown_line(f"  {run.handler}  {_outcome(run)}{detail}"))
        traceback = users_traceback(run.traceback)
        if traceback:
            say(shown_block(traceback, indent=6))


def _conclude(*faults: str) -> None:
    """End the command with exit code 1 if there is a fault; empty texts are none.

    Raises:
        Failed: there is one.
    """
    message = "; ".join(fault for fault in faults if fault)
    if message:
        raise Failed(message)
