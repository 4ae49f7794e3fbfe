"""The log of events as it grows: the last few, then each as it is admitted. An outage of the store is waited out.

Called by `konvox-hooks events tail`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from broker.event_log import LoggedEvent, end_of_log, events, events_after
from broker.redis.client import OUTAGES
from broker.redis.commands import Server
from broker.redis.outage import Outage

_WAIT_MS: Final = 1000
"""How long one blocking read lasts; the connection's own time limit must be longer."""

Wanted = Callable[[LoggedEvent], bool]


async def tail(server: Server, wanted: Wanted, *, last: int, stop: asyncio.Event) -> AsyncIterator[LoggedEvent]:
    """The last few events in the log that are wanted, oldest first, and then those to come, until `stop` is set.

    Args:
        server: where the log is.
        wanted: whether an event is of interest.
        last: how many of the past are.
        stop: looked at between two reads, because redis-py now and then swallows a cancellation.
    """
    outage = Outage()
    place: str | None = None
    while not stop.is_set():
        try:
            found: Sequence[LoggedEvent]
            if place is None:
                end = await end_of_log(server)
                found, place = await _past(server, wanted, last, up_to=end), end
            else:
                found, place = await events_after(server, place, wait_ms=_WAIT_MS)
        except OUTAGES as error:
            await outage.wait(error)
            continue
        outage.over()
        # Not inside the `try`: what the reader does with an event, or its pipe, is no outage of the store.
        for logged in found:
            if wanted(logged):
                yield logged


async def _past(server: Server, wanted: Wanted, last: int, *, up_to: str) -> list[LoggedEvent]:
    found: list[LoggedEvent] = []
    async for logged in events(server, up_to=up_to):
        if len(found) == last:
            break
        if wanted(logged):
            found.append(logged)
    return found[::-1]
