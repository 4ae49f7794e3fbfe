"""`konvox-hooks doctor`: check everything, and say how to fix what is wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import click

from konvox_hooks.doctor.examination import examine, read_settings
from konvox_hooks.doctor.findings import Finding, State
from konvox_hooks.errors import Failed, NeedsAttention
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.terminal.formatting import example, shown_line
from konvox_hooks.terminal.output import print_json

_COLOURS: Final[dict[State, str]] = {"ok": "green", "warning": "yellow", "fault": "red"}


@click.command(epilog=example("doctor", "doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of lines.")
def command(*, as_json: bool) -> None:
    """Check settings, handlers, folder, Redis, the Konvox API and its key, the public URL, and the webhooks.

    Each finding is one line: ok, warning (it works, and you should look) or fault, and what to do about it. Nothing is
    changed. To find out what the key may do, an empty registration is sent, which Konvox must refuse: with 400 for a
    full key, with 403 for a read key. Exit code 0: all ok; 3: warnings only; 1: a fault.
    """
    subject, findings = read_settings()
    configure_logging(subject.settings.log_level, subject.settings.log_format)
    findings = [*findings, *asyncio.run(examine(subject))]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    _conclude(findings)


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        state = click.style(f"{finding.state:<7}", fg=_COLOURS[finding.state])
        hint = f" -> {finding.hint}" if finding.hint else ""
        click.echo(f"{state}  {shown_line(finding.check):<{width}}  {shown_line(finding.message + hint)}")


def _conclude(findings: Sequence[Finding]) -> None:
    """End the command with the exit code of the worst finding.

    Raises:
        Failed: there is a fault.
        NeedsAttention: there is a warning.
    """
    counts = Counter(finding.state for finding in findings)
    summary = ", ".join(
        f"{counts[state]} {state}{'' if counts[state] == 1 else 's'}" for state in ("fault", "warning") if counts[state]
    )
    if counts["fault"]:
        raise Failed(summary)
    if counts["warning"]:
        raise NeedsAttention(summary)
