"""Which handler runs in the present context, and for which event. The dispatcher sets it; the log reads it.

A context variable, so the tasks and threads that a handler starts through asyncio belong to it too.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, NamedTuple


class PresentRun(NamedTuple):
    """Names only, and not the job: a connection that a handler opens keeps its context for long.

    Attributes:
        handler: the handler's name.
        delivery: the id of the delivery.
        event_id: the id of the event.
        event_type: its type.
    """

    handler: str
    delivery: str
    event_id: str
    event_type: str


PRESENT_RUN: Final[ContextVar[PresentRun | None]] = ContextVar("PRESENT_RUN", default=None)
