"""The handler of every chaos worker: it writes down what it does, outside the Redis under fault.

What else it does stands in the event's data: `before_seconds` and `after_seconds` around the effect, `blocks_seconds`
without giving the event loop back, `exits` taking the worker along, `fails` until the file `healed` is there, `waits`
until the file `released` is there.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from handlers import Context, on
from konvox.events import Event

FOLDER = Path(os.environ["CHAOS_FOLDER"])


def write_line(name: str, line: str) -> None:
    """Append a line to a file, and have it on disk before anything else happens."""
    descriptor = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@on("*", attempts=1)
async def work(event: Event, ctx: Context) -> None:
    """Do what the event's data say, and write down when it began and when it took effect."""
    plan = event.data
    write_line("entered", f"{event.id} {ctx.attempt}")
    await asyncio.sleep(plan.get("before_seconds", 0))
    while plan.get("waits") and not (FOLDER / "released").exists():  # noqa: ASYNC110 - the word comes from another process
        await asyncio.sleep(0.01)
    write_line("effects", f"{event.id} {ctx.attempt}")
    if plan.get("exits"):
        os._exit(13)
    if plan.get("fails") and not (FOLDER / "healed").exists():
        raise RuntimeError("not healed yet")
    time.sleep(plan.get("blocks_seconds", 0))  # noqa: ASYNC251 - a handler that blocks is what row 12 is about
    await asyncio.sleep(plan.get("after_seconds", 0))
