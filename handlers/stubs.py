"""A handler ready to paste, for an event that nobody handles yet.

Called by the worker and the command `handlers` for an event that no handler wants, and by the loader for a file without
a handler. The name of the event comes from outside, and is quoted wherever it stands in the code.
"""

from __future__ import annotations

import re

from handlers.decorator import is_nameable
from handlers.registry import is_wildcard
from konvox.events import EVENT_MODELS, Event


def handler_stub(event_type: str) -> str:
    """The source of a module that handles events of this type, with the event's own class where it has one."""
    model = EVENT_MODELS.get(event_type, Event).__name__
    return "\n".join(
        [
            "from konvox_hooks import Context, on",
            f"from konvox_hooks.events import {model}",
            "",
            "",
            f"@on({_target(event_type)})",
            f"async def {_function_name(event_type)}(event: {model}, ctx: Context) -> None:",
            '    ctx.log.info("it came", event_id=event.id, data=event.data)',
            "",
        ]
    )


def _target(event_type: str) -> str:
    quoted = _quote(event_type)
    if is_nameable(event_type) and not is_wildcard(event_type):
        return quoted
    return f'"*", when=lambda event: event.type == {quoted}'


def _quote(text: str) -> str:
    return f'"{text}"' if re.fullmatch(r"[\w.:-]+", text, re.ASCII) else ascii(text)


def _function_name(event_type: str) -> str:
    words = re.findall(r"[a-z0-9]+", event_type.lower())
    return "_".join(["on", *words]) if words else "on_event"
