"""`handlers.log`: one line for each event, and nothing about people in it."""

from __future__ import annotations

from handlers.loader import load
from handlers.log import log_event
from handlers.testkit import make_context, make_plain_event


async def test_one_line_without_data() -> None:
    """The line holds type, id, company and whether the event is a replay, but nothing of its data."""
    ctx = make_context()
    event = make_plain_event("contact.replied", {"subject": "my phone number"}, company_id="clmine", replayed=True)
    await log_event(event, ctx)
    assert ctx.logged == [
        {
            "event": "konvox.event",
            "log_level": "info",
            "event_type": "contact.replied",
            "event_id": event.id,
            "company_id": "clmine",
            "replayed": True,
        }
    ]


def test_it_is_plugged_in_by_its_name() -> None:
    """`handlers.log` takes every event in the plain form, so one that does not fit its model is logged too."""
    (handler,) = load(["handlers.log"], entry_points=False).registry
    assert (handler.name, handler.patterns, handler.takes_plain_event) == ("handlers.log.log_event", ("*",), True)
