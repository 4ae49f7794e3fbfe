"""Hear of new work at once, instead of polling for it: the admission publishes, the worker listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker import keys
from broker.connection import COMMAND_TIMEOUT_SECONDS, OUTAGES, Server

_QUIET_SECONDS = 5.0
"""How long nothing is heard before the connection is tried. A machine that is gone does not close it: after a failover
the admissions publish elsewhere, and the silence would last for as long as TCP has patience."""

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
                    await _next_message(subscription)
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


async def _next_message(subscription: Server) -> None:
    """Wait for a message.

    Raises:
        TimeoutError: nothing is heard, and nobody answers.
    """
    while await subscription.get_message(timeout=_QUIET_SECONDS) is None:
        await subscription.ping()
        answer = await subscription.get_message(timeout=COMMAND_TIMEOUT_SECONDS)
        if answer is None:
            raise TimeoutError("the connection is silent")
        if answer["type"] == "message":
            return
