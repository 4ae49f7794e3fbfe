"""Wait until an event's handlers have ended, retries included. Called by `konvox-hooks trigger --wait`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from broker.event_log import LoggedEvent, find_events
from broker.redis.client import outages_as_unavailable
from konvox_hooks.config.settings import Settings
from konvox_hooks.history.open_store import watched_store

_POLL_SECONDS: Final = 0.1


async def wait_for_outcome(settings: Settings, event_id: str, *, seconds: float) -> LoggedEvent | None:
    """What became of an event: once it is no longer pending, or what is known when the time is up.

    Args:
        settings: the configuration, with the receiver's Redis.
        event_id: of the event; its first admission counts, not its replays.
        seconds: how long to wait.

    Returns:
        None if the log does not hold the event.

    Raises:
        BrokerUnavailableError: Redis is away.
    """
    found: LoggedEvent | None = None
    with suppress(TimeoutError):
        async with watched_store(settings) as server, asyncio.timeout(seconds):
            while found is None or found.state == "pending":
                with outages_as_unavailable():
                    admissions = await find_events(server, event_id)
                found = next((logged for logged in admissions if not logged.replayed), None)
                if found is None or found.state == "pending":
                    await asyncio.sleep(_POLL_SECONDS)
    return found
