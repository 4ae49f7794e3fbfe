"""Follow the event log: the last few events, then each new one. Waits while the store is away.

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
"""How long one blocking read lasts. It must be shorter than the connection's time limit."""

Filter = Callable[[LoggedEvent], bool]


async def tail(server: Server, wanted: Filter, *, last: int, stop: asyncio.Event) -> AsyncIterator[LoggedEvent]:
    """Yield the last few wanted events of the log, oldest first, then each new one until `stop` is set.

    Args:
        server: Redis.
        wanted: whether to yield an event.
        last: how many past events to begin with.
        stop: checked between two reads, because redis-py sometimes swallows a cancellation.
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
        # Outside of the `try`: an error of our caller, such as a broken pipe, is no outage of the store.
        for logged in found:
            if wanted(logged):
                yield logged


async def _past(server: Server, wanted: Filter, last: int, *, up_to: str) -> list[LoggedEvent]:
    found: list[LoggedEvent] = []
    async for logged in events(server, up_to=up_to):
        if len(found) == last:
            break
        if wanted(logged):
            found.append(logged)
    return found[::-1]
