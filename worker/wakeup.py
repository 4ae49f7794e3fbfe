"""Hear of new work at once, instead of polling for it: the admission publishes, the worker listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from broker.redis.client import COMMAND_TIMEOUT_SECONDS, OUTAGES
from broker.redis.commands import Message, Server, Subscription

_QUIET_SECONDS = 5.0
"""How long nothing is heard before the connection is tried. A machine that is gone does not close it: after a failover
the admissions publish elsewhere, and the silence would last for as long as TCP has patience."""

_AGAIN_SECONDS = 1.0
_CANCEL_SECONDS = 0.1


async def listen(server: Server, heard: Mapping[str, Callable[[bytes], object]], *, lost: Callable[[], object]) -> None:
    """Listen until cancelled. An outage is not reported here: the claims meet it as well.

    Args:
        server: Redis.
        heard: by channel, what is called with each message.
        lost: called when messages may have been lost, as they are while there is no connection.
    """
    while True:
        try:
            async with server.pubsub() as subscription:
                await subscription.subscribe(*heard)
                while True:
                    told = await _next_message(subscription)
                    if told["type"] == "message":
                        heard[told["channel"].decode()](told["data"])
                    elif told["type"] == "subscribe":
                        lost()  # redis-py subscribes anew by itself when it has lost the connection
        except OUTAGES:
            lost()
            await asyncio.sleep(_AGAIN_SECONDS)


async def end(listener: asyncio.Task[None]) -> None:
    """Cancel the listener, and wait until it has ended.

    Asked again if need be: `asyncio.wait_for` of Python 3.11, which redis-py uses, loses a cancellation that comes just
    when the command is sent, as it does in a worker that is stopped the moment it has started.
    """
    while not listener.done():
        listener.cancel()
        await asyncio.wait([listener], timeout=_CANCEL_SECONDS)


async def _next_message(subscription: Subscription) -> Message:
    """Wait for a message, or for the word that a channel is subscribed to.

    Raises:
        TimeoutError: nothing is heard, and nobody answers.
    """
    told = await subscription.get_message(timeout=_QUIET_SECONDS)
    if told is None:
        await subscription.ping()
        told = await subscription.get_message(timeout=COMMAND_TIMEOUT_SECONDS)
    if told is None:
        raise TimeoutError("the connection is silent")
    return told
