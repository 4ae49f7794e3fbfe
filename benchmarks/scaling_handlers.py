"""The handler of the scaling measure: it costs 0.2 ms of CPU time."""

from __future__ import annotations

import time

from handlers import Context, on
from konvox.events import ContactReplied

COST_NS = 200_000


@on("contact.replied")
async def compute(event: ContactReplied, ctx: Context) -> None:
    """Compute for as long as it costs."""
    del event, ctx
    until = time.thread_time_ns() + COST_NS
    while time.thread_time_ns() < until:
        pass
