"""`konvox-hooks audit`: show the ledger, and prove that every accepted event is accounted for."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from broker.audit import audit
from broker.errors import BrokerUnavailableError
from broker.ledger import Ledger
from broker.redis.client import outages_as_unavailable
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import Failed, NeedsAttention
from konvox_hooks.history.open_store import open_store
from konvox_hooks.terminal.formatting import example, say, shown_line, shown_time
from konvox_hooks.terminal.output import print_json
from konvox_hooks.terminal.progress import interruptible
from receiver.errors import SpoolError
from receiver.spool import SpooledEvents, spooled_events

WATCH_SECONDS: Final = 2.0
"""How long `--watch` waits between two reports."""

_MOST_NAMED: Final = 10
"""The most ids that the last line names; the text above it names all."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one audit.

    Attributes:
        counts: the ledger; None while Redis is away.
        outage: why Redis could not be read; empty if it was.
        spool: the events in the spools of this machine; None if they cannot be read.
        spool_fault: why they cannot be read.
    """

    counts: Ledger | None
    outage: str
    spool: SpooledEvents | None
    spool_fault: str

    @property
    def faults(self) -> list[str]:
        """The reasons why the audit fails; empty if everything is accounted for."""
        faults = [f"the spool cannot be read: {self.spool_fault}"] if self.spool is None else []
        if self.counts is None:
            return [*faults, f"Redis is away ({self.outage}): only the spools of this machine could be read"]
        if not self.counts.balanced:
            faults.append(f"the ledger does not balance: {'; '.join(_differences(self.counts))}")
        return faults


@click.command(epilog=example("audit", "audit --json", "audit --watch"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--watch", is_flag=True, help="Repeat the audit every 2 seconds, until Ctrl-C.")
def command(*, as_json: bool, watch: bool) -> None:
    """Prove that no event has disappeared: accepted = delivered + dead + pending.

    The equation holds at every moment, under load too. It is a real check: pending is counted from the queue itself,
    and each delivery in the log is looked up in the place where it should be. Events in the spools of this machine's
    KONVOX_DATA_DIR count too, so run it where the receiver runs. Exit code 1: the equation does not hold, or a
    delivery is misplaced, and its id is named; 3: a damaged spool needs a person.
    """
    settings = load_settings()
    if watch:
        asyncio.run(_watch(settings, as_json=as_json))
        raise KeyboardInterrupt
    report = asyncio.run(interruptible(_audit(settings)))
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    _conclude(report)


async def _watch(settings: Settings, *, as_json: bool) -> None:
    """Repeat the audit until Ctrl-C: each report is a page on a terminal, one line otherwise.

    Ctrl-C sets an event instead of cancelling this task: redis-py sometimes swallows a cancellation.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    on_page = sys.stdout.isatty() and not as_json
    while not stopped.is_set():
        report = await _audit(settings)
        now = shown_time(time.time_ns() // 1_000_000)
        if on_page:
            click.clear()
            say(f"{now}, every {WATCH_SECONDS:g} s; Ctrl-C ends it\n")
            _print(report)
            for fault in report.faults:
                say(f"\n{shown_line(fault)}")
        elif as_json:
            print_json({"at": now, **_as_json(report)})
        else:
            say(f"{now} {_as_line(report)}")
        sys.stdout.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await stopped.wait()


async def _audit(settings: Settings) -> Report:
    try:
        # Before Redis is read: an event that is drained in between is found there.
        spool, spool_fault = spooled_events(settings.spool_dir), ""
    except SpoolError as error:
        spool, spool_fault = None, error.reason
    spooled = spool.ids if spool else ()
    try:
        async with open_store(settings) as server:
            with outages_as_unavailable():
                retention_ms = settings.log_retention_seconds * 1000
                counts = await audit(server, spooled=spooled, retention_ms=retention_ms)
    except BrokerUnavailableError as outage:
        return Report(None, outage.reason, spool, spool_fault)
    return Report(counts, "", spool, spool_fault)


def _conclude(report: Report) -> None:
    """End the command with the exit code that follows from the report.

    Raises:
        Failed: something is not accounted for, or Redis or the spool could not be read.
        NeedsAttention: there is a damaged spool.
    """
    if report.faults:
        raise Failed("; ".join(report.faults))
    if report.spool and report.spool.damaged:
        raise NeedsAttention(
            f"damaged spools are kept for you to look at: {', '.join(report.spool.damaged)}; "
            "their intact events have been taken out, or are counted above"
        )


def _as_json(report: Report) -> dict[str, Any]:
    spool = report.spool or SpooledEvents((), ())
    counts = report.counts
    fault = report.spool_fault or None
    return {
        "redis": report.outage or "up",
        **(asdict(counts) if counts else {}),
        **({"balanced": counts.balanced, "difference": counts.difference} if counts else {}),
        "spool": {"events": spool.count, "ids": spool.ids, "damaged": spool.damaged, "fault": fault},
    }


def _print(report: Report) -> None:
    if report.counts is not None:
        _print_equation(report.counts)
    spooled = report.spool.count if report.spool else 0
    if report.counts is None:
        say(f"spooled {spooled}: on this machine's disk, until Redis is back")
        for delivery in report.spool.ids if report.spool else ():
            say(f"spooled {shown_line(delivery)}")
        return
    say(f"spooled {report.counts.spooled}: part of accepted and pending, on this machine's disk and not in Redis")
    if in_both := spooled - report.counts.spooled:
        say(f"spooled as well {in_both}: in Redis already, and counted there")
    for misplaced in report.counts.misplaced:
        say(f"misplaced {shown_line(misplaced)}")
    if not report.faults:
        say("\nEverything that was accepted is accounted for.")


def _print_equation(counts: Ledger) -> None:
    terms = ("accepted", "delivered", "dead", "pending")
    numbers = [str(getattr(counts, term)) for term in terms]
    widths = [max(len(term), len(number)) for term, number in zip(terms, numbers, strict=True)]
    sign = "=" if counts.difference == 0 else "≠"
    for row, relation in ((terms, "="), (numbers, sign)):
        total, *parts = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        say(f"{total} {relation} {' + '.join(parts)}")
    say(f"\nduplicates {counts.duplicates}: recognised, and not part of accepted")
    say(f"dead letters {counts.dead_letters}: waiting for `konvox-hooks dead retry` or `dead drop`")
    say(f"dropped {counts.dropped}: part of dead, dropped by an operator")


def _as_line(report: Report) -> str:
    """The report on one line, for a log."""
    if report.counts is None:
        return f"spooled={report.spool.count if report.spool else '?'} {'; '.join(report.faults)}"
    counts = report.counts
    names = ("accepted", "delivered", "dead", "pending", "spooled", "duplicates", "dead_letters", "dropped")
    numbers = " ".join(f"{name}={getattr(counts, name)}" for name in names)
    return f"{numbers} {shown_line('; '.join(report.faults)) or 'balanced'}"


def _differences(counts: Ledger) -> list[str]:
    faults = []
    if counts.difference:
        faults.append(f"{abs(counts.difference)} {'missing' if counts.difference > 0 else 'too many'}")
    if counts.misplaced:
        named = shown_line(", ".join(counts.misplaced[:_MOST_NAMED]))
        more = f" and {len(counts.misplaced) - _MOST_NAMED} more" if len(counts.misplaced) > _MOST_NAMED else ""
        faults.append(f"{len(counts.misplaced)} misplaced: {named}{more}")
    return faults
