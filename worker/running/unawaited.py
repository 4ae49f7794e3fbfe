"""Name the handler of a coroutine that was made and never awaited: whatever it was to do did not happen.

Python only writes a warning to stderr, once for each line of code, and knows nothing of events. The dispatcher notes
which handler runs; tasks and threads that the handler starts inherit that note. The calls of `ctx.http`, `ctx.konvox`
and `ctx.once` are watched more closely, and make the attempt fail (`effects.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Coroutine
from typing import Any

import structlog

from worker.running.run_context import PRESENT_RUN

logger = structlog.get_logger("worker")

_HOOK = "_warn_unawaited_coroutine"
"""Where Python reports such a coroutine, when it is collected. No public function is told the coroutine itself."""


def report_unawaited_coroutines() -> None:
    """From now on, log those that handlers make. All others are reported as before."""
    before = getattr(warnings, _HOOK, None)
    if before is None or getattr(before, "logs", False):
        return

    def report(coroutine: Coroutine[Any, Any, Any]) -> None:
        run = PRESENT_RUN.get()
        if run is None:
            before(coroutine)
            return
        code = getattr(coroutine, "cr_code", None)
        logger.warning(
            "coroutine.unawaited",
            event_id=run.event_id,
            delivery=run.delivery,
            handler=run.handler,
            coroutine=getattr(coroutine, "__qualname__", type(coroutine).__name__),
            source=f"{code.co_filename}:{code.co_firstlineno}" if code else None,
            hint="it was never awaited, and did nothing: await it, or in a plain def give it to ctx.run",
        )

    report.logs = True  # type: ignore[attr-defined]
    setattr(warnings, _HOOK, report)
