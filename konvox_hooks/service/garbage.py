"""Settings of the garbage collector for a process that handles events for days. Called by receiver and worker."""

from __future__ import annotations

import gc

GARBAGE_AFTER_ALLOCATIONS = 10_000
"""A search for garbage starts after this many allocations of containers, frees subtracted; Python's default is 700."""


def tune_garbage_collection() -> None:
    """Exclude the objects that exist now from the search for garbage, and search less often than by default.

    Each event makes about a hundred objects that reference counting frees; frequent searches would find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER_ALLOCATIONS)
