"""Which handler runs in the present context, and for which job. The dispatcher sets it; the log reads it.

A context variable, so the tasks and threads that a handler starts through asyncio belong to it too.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worker.running.timeouts import Run

PRESENT_RUN: Final[ContextVar[Run | None]] = ContextVar("PRESENT_RUN", default=None)
