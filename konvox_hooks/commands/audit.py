"""`konvox-hooks audit`: the ledger, and whether everything that was accepted is accounted for."""

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
from konvox_hooks.errors import CommandError, Failed, NeedsAttention
from konvox_hooks.history.open_store import open_store
from konvox_hooks.service.receiver import SPOOL
from konvox_hooks.terminal.formatting import example, say, shown_line, shown_time
from konvox_hooks.terminal.output import print_json
from receiver.errors import SpoolError
from receiver.spool import SpooledEvents, spooled_events

WATCH_SECONDS: Final = 2.0
"""How long `--watch` waits between two looks."""

_MOST_NAMED: Final = 10
"""How many ids the last line names; all of them stand above it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at one moment.

    Attributes:
        counts: the ledger; None while Redis is away.
        outage: what Redis or the connection said, where there is no ledger.
        spool: what waits in the spools of this machine; None where they cannot be read.
        spool_fault: why they cannot.
    """

    counts: Ledger | None
    outage: str
    spool: SpooledEvents | None
    spool_fault: str

    @property
    def faults(self) -> list[str]:
        """Why it cannot be said that everything is accounted for; empty where it can."""
        faults = [f"the spool cannot be read: {self.spool_fault}"] if self.spool is None else []
        if self.counts is None:
            return [*faults, f"Redis is away ({self.outage}): only what is spooled here could be looked at"]
        if not self.counts.balanced:
            faults.append(f"the ledger does not balance: {'; '.join(_differences(self.counts))}")
        return faults


@click.command(epilog=example("audit", "audit --json", "audit --watch"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--watch", is_flag=True, help="Look again every 2 seconds, until Ctrl-C.")
def command(*, as_json: bool, watch: bool) -> None:
    """Prove that no event has disappeared: accepted = delivered + dead + pending.

    Pending is counted from the queue itself, and each delivery in the log is looked up where it should be, so that the
    equation can fail. It holds at every moment, under load as well. What waits in the spools of this machine's
    KONVOX_DATA_DIR is part of it, and shown while Redis is away too; run it where the receiver runs. Exit code 1: it
    does not hold, or something is not where it should be, and its id is named; 3: a damaged spool waits for a person.
    """
    settings = load_settings()
    if watch:
        asyncio.run(_watch(settings, as_json=as_json))
        raise KeyboardInterrupt
    look = asyncio.run(_look(settings))
    if as_json:
        print_json(_as_json(look))
    else:
        _print(look)
    if (ended := _conclusion(look)) is not None:
        raise ended


async def _watch(settings: Settings, *, as_json: bool) -> None:
    """Look again and again until Ctrl-C: a page on a terminal, a line each otherwise.

    Ctrl-C is a flag and no cancellation: redis-py may swallow one that comes while it waits for an answer.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    on_page = sys.stdout.isatty() and not as_json
    while not stopped.is_set():
        look = await _look(settings)
        now = shown_time(time.time_ns() // 1_000_000)
        if on_page:
            click.clear()
            say(f"{now}, every {WATCH_SECONDS:g} s; Ctrl-C ends it\n")
            _print(look)
            for fault in look.faults:
                say(f"\n{shown_line(fault)}")
        elif as_json:
            print_json({"at": now, **_as_json(look)})
        else:
            say(f"{now} {_line(look)}")
        sys.stdout.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await stopped.wait()


async def _look(settings: Settings) -> Look:
    try:
        # Before Redis: what is drained in between is found there.
        spool, spool_fault = spooled_events(settings.data_dir / SPOOL), ""
    except SpoolError as error:
        spool, spool_fault = None, error.reason
    spooled = spool.ids if spool else ()
    try:
        async with open_store(settings) as server:
            with outages_as_unavailable():
                retention_ms = settings.log_retention_seconds * 1000
                counts = await audit(server, spooled=spooled, retention_ms=retention_ms)
    except BrokerUnavailableError as outage:
        return Look(None, outage.reason, spool, spool_fault)
    return Look(counts, "", spool, spool_fault)


def _conclusion(look: Look) -> CommandError | None:
    """How the command ends; None: all is well."""
    if look.faults:
        return Failed("; ".join(look.faults))
    if look.spool and look.spool.damaged:
        return NeedsAttention(
            f"damaged spools are kept for you to look at: {', '.join(look.spool.damaged)}; "
            "whatever was intact in them has been taken out, or is counted above"
        )
    return None


def _as_json(look: Look) -> dict[str, Any]:
    spool = look.spool or SpooledEvents((), ())
    counts = look.counts
    told = asdict(counts) if counts else {}
    return {
        "redis": look.outage or "up",
        **told,
        **({"balanced": counts.balanced, "difference": counts.difference} if counts else {}),
        "spool": {"events": spool.count, "ids": spool.ids, "damaged": spool.damaged, "fault": look.spool_fault or None},
    }


def _print(look: Look) -> None:
    if look.counts is not None:
        _print_equation(look.counts)
    spooled = look.spool.count if look.spool else 0
    if look.counts is None:
        say(f"spooled {spooled}: on this machine's disk, for when Redis is back")
        for delivery in look.spool.ids if look.spool else ():
            say(f"spooled {shown_line(delivery)}")
        return
    say(f"spooled {look.counts.spooled}: part of accepted and pending, on this machine's disk and not in Redis")
    if twice := spooled - look.counts.spooled:
        say(f"spooled as well {twice}: in Redis already, and counted there")
    for misplaced in look.counts.misplaced:
        say(f"misplaced {shown_line(misplaced)}")
    if not look.faults:
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
    say(f"dropped {counts.dropped}: part of dead, thrown away by somebody")


def _line(look: Look) -> str:
    """All of it on one line, for a log."""
    if look.counts is None:
        return f"spooled={look.spool.count if look.spool else '?'} {'; '.join(look.faults)}"
    counts = look.counts
    names = ("accepted", "delivered", "dead", "pending", "spooled", "duplicates", "dead_letters", "dropped")
    numbers = " ".join(f"{name}={getattr(counts, name)}" for name in names)
    return f"{numbers} {shown_line('; '.join(look.faults)) or 'balanced'}"


def _differences(counts: Ledger) -> list[str]:
    faults = []
    if counts.difference:
        faults.append(f"{abs(counts.difference)} {'missing' if counts.difference > 0 else 'too many'}")
    if counts.misplaced:
        named = shown_line(", ".join(counts.misplaced[:_MOST_NAMED]))
        more = f" and {len(counts.misplaced) - _MOST_NAMED} more" if len(counts.misplaced) > _MOST_NAMED else ""
        faults.append(f"{len(counts.misplaced)} not where they should be: {named}{more}")
    return faults
