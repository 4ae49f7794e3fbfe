"""The worker's listener comes to an end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from worker.leasing.notifications import end


async def test_a_cancellation_that_is_lost_is_said_again() -> None:
    """redis-py may lose one in Python 3.11; the worker would never end."""
    entered = asyncio.Event()

    async def lose_the_first() -> None:
        """Take no notice of the first cancellation."""
        with suppress(asyncio.CancelledError):
            entered.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    listener = asyncio.create_task(lose_the_first())
    await entered.wait()
    await end(listener)
    assert listener.cancelled()
