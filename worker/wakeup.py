"""Hear of new work at once, instead of polling for it: the admission publishes, the worker listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker import keys
from broker.connection import OUTAGES, Server

_QUIET_SECONDS = 30.0
_AGAIN_SECONDS = 1.0
_CANCEL_SECONDS = 0.1


async def listen(server: Server, wake: Callable[[], object]) -> None:
    """Call `wake` for each admission, until cancelled. An outage is not reported here: the claims meet it as well.

    A message that is lost on the way costs nothing but time, because the worker looks once a second anyway.
    """
    while True:
        try:
            async with server.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(keys.WAKE_CHANNEL)
                while True:
                    if await subscription.get_message(timeout=_QUIET_SECONDS) is not None:
                        wake()
        except OUTAGES:
            await asyncio.sleep(_AGAIN_SECONDS)


async def end(listener: asyncio.Task[None]) -> None:
    """Cancel the listener, and wait until it has ended.

    Asked again if need be: `asyncio.wait_for` of Python 3.11, which redis-py uses, loses a cancellation that comes just
    when the command is sent, as it does in a worker that is stopped the moment it has started.
    """
    while not listener.done():
        listener.cancel()
        await asyncio.wait([listener], timeout=_CANCEL_SECONDS)
