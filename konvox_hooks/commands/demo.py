"""`konvox-hooks demo`: show the whole product at work."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from konvox_hooks.demo.walkthrough import run_walkthrough
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.terminal.progress import interruptible


@click.command()
def command() -> None:
    """Show events that go from Konvox to handlers, fail, recover and balance, on real processes, in under a minute.

    It needs no account, no Redis and no settings, and removes everything at the end. Exit code 1: a step went wrong.
    """
    configure_logging("warning", "auto")
    with tempfile.TemporaryDirectory(prefix="konvox-hooks-demo-") as folder:
        asyncio.run(interruptible(run_walkthrough(Path(folder))))
