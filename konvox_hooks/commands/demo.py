"""`konvox-hooks demo`: see the whole product work."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from konvox_hooks.demo.story import tell
from konvox_hooks.service.logging import configure_logging


@click.command()
def command() -> None:
    """See events go from Konvox to handlers, fail, recover and balance, on real processes, in under a minute.

    Needs no account, no Redis and no settings, and leaves nothing behind. Exit code 0 only if every step was as it
    should be.
    """
    configure_logging("warning", "auto")
    with tempfile.TemporaryDirectory(prefix="konvox-hooks-demo-") as folder:
        asyncio.run(tell(Path(folder)))
