"""What the measure asks of whoever works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arq.connections import ArqRedis

from benchmarks.store import Store


@dataclass(frozen=True, slots=True)
class Worker:
    """One way to work through queued events: a process that runs a no-op handler on each.

    Attributes:
        name: for the table.
        command: what starts the process.
        environment: what it must be told, given the store's URL.
        fill: queues these bodies; the folder is for the files of a process that it may need.
        left: how many events are not settled yet; asked all the time, so it must be cheap for the store.
        settled: how many events are settled well, by the worker's own account; None if it keeps none.
        concurrency: how many events it has in flight.
        events: how many it is given, if it is too slow for the usual number.
        quick_events: likewise in a quick run.
        note: what is particular about it, for the table.
        target_ratio: how many times as fast as this one we are to be, if there is a target.
        peer: what must be installed for it.
    """

    name: str
    command: tuple[str, ...]
    environment: Callable[[str], Mapping[str, str]]
    fill: Callable[[Store, Sequence[bytes], Path], Awaitable[None]]
    left: Callable[[ArqRedis], Awaitable[int]]
    settled: Callable[[ArqRedis], Awaitable[int]] | None
    concurrency: int
    events: int | None = None
    quick_events: int | None = None
    note: str = ""
    target_ratio: float | None = None
    peer: str | None = None
