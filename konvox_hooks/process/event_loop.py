"""Which event loop receiver and worker run on. Called by their commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module


def fast_event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a uvloop; None, for asyncio's own loop, where there is no uvloop, as on PyPy.

    asyncio's own loop takes a quarter of the receiver's time; uvloop is in C: see docs/performance.md.
    """
    try:
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return new_event_loop
