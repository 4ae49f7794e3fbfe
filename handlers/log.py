"""Logs every event, without its data: `KONVOX_HANDLERS=handlers.log`. The smallest model of a plug-in."""

from __future__ import annotations

from handlers import Context, on
from konvox.events import Event


@on("*")
async def log_event(event: Event, ctx: Context) -> None:
    """One line for each event. What is in `data` stays out: it is about people."""
    ctx.log.info(
        "konvox.event",
        event_type=event.type,
        event_id=event.id,
        company_id=event.company_id,
        replayed=event.replayed,
    )
