"""`konvox-hooks audit`: the ledger, and whether everything that was accepted is accounted for."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click

from broker import ledger
from broker.connection import outages_as_unavailable
from broker.ledger import Ledger
from console.errors import Failed
from console.output import print_json
from console.settings import Settings, load_settings
from console.showing import example, say, shown_line
from console.store import open_store


@click.command(epilog=example("audit", "audit --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(*, as_json: bool) -> None:
    """Prove that no event has disappeared: accepted = delivered + dead + pending.

    Pending is counted from the queue itself, so that the equation can fail. It holds at every moment, under load as
    well. Exit code 1: it does not hold, or something that is queued or dead is not where it should be.
    """
    counts = asyncio.run(_audit(load_settings()))
    if as_json:
        print_json({**asdict(counts), "balanced": counts.balanced, "difference": counts.difference})
    else:
        _print(counts)
    if not counts.balanced:
        raise Failed(f"the ledger does not balance: {'; '.join(_faults(counts))}")


async def _audit(settings: Settings) -> Ledger:
    async with open_store(settings) as server:
        with outages_as_unavailable():
            return await ledger.audit(server)


def _print(counts: Ledger) -> None:
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
    for misplaced in counts.misplaced:
        say(f"misplaced {shown_line(misplaced)}")
    if counts.balanced:
        say("\nEverything that was accepted is accounted for.")


def _faults(counts: Ledger) -> list[str]:
    faults = []
    if counts.difference:
        faults.append(f"{abs(counts.difference)} {'missing' if counts.difference > 0 else 'too many'}")
    if counts.misplaced:
        faults.append(f"{len(counts.misplaced)} not where they should be: {shown_line(', '.join(counts.misplaced))}")
    return faults
