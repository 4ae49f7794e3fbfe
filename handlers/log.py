"""Logs every event, without its data: `KONVOX_HANDLERS=handlers.log`. The smallest model of a plug-in.

A copy of your own imports `Context` and `on` from `konvox_hooks`, and `Event` from `konvox_hooks.events`.
"""

from __future__ import annotations

from handlers import Context, on
from konvox.events import Event


@on("*")
async def log_event(event: Event, ctx: Context) -> None:
    """Write one line for each event. It leaves out `data`, which is about people."""
    ctx.log.info(
        "konvox.event",
        event_type=event.type,
        event_id=event.id,
        company_id=event.company_id,
        replayed=event.replayed,
    )
