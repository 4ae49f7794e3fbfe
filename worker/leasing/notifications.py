"""Hear of new work at once instead of polling for it: admissions publish, the worker listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from broker.redis.client import COMMAND_TIMEOUT_SECONDS, OUTAGES
from broker.redis.commands import Message, Server, Subscription

_QUIET_SECONDS = 5.0
"""After so long without a message the connection is tested. A machine that is gone does not close it: after a failover
the admissions publish elsewhere, and the silence would last until TCP gives up."""

_RECONNECT_SECONDS = 1.0
_CANCEL_SECONDS = 0.1

Listeners = Mapping[str, Callable[[bytes], object]]


async def listen(server: Server, listeners: Listeners, *, lost: Callable[[], object]) -> None:
    """Listen until cancelled. An outage is not reported here: the claims meet it as well.

    Args:
        server: Redis.
        listeners: what is called with each message, by channel.
        lost: called when messages may have been lost, as they are while there is no connection.
    """
    while True:
        try:
            await _listen_on_one_connection(server, listeners, lost)
        except OUTAGES:
            lost()
            await asyncio.sleep(_RECONNECT_SECONDS)


async def _listen_on_one_connection(server: Server, listeners: Listeners, lost: Callable[[], object]) -> None:
    async with server.pubsub() as subscription:
        await subscription.subscribe(*listeners)
        while True:
            message = await _next_message(subscription)
            if message["type"] == "message":
                listeners[message["channel"].decode()](message["data"])
            elif message["type"] == "subscribe":
                lost()  # what was published before; redis-py also subscribes by itself when it has reconnected


async def end(listener: asyncio.Task[None]) -> None:
    """Cancel the listener, and wait until it has ended.

    It is cancelled repeatedly: `asyncio.wait_for` of Python 3.11, which redis-py uses, loses a cancellation that comes
    just when the command is sent, as it does in a worker that is stopped the moment it has started.
    """
    while not listener.done():
        listener.cancel()
        await asyncio.wait([listener], timeout=_CANCEL_SECONDS)


async def _next_message(subscription: Subscription) -> Message:
    """Wait for a message, or for the confirmation of a subscription.

    Raises:
        TimeoutError: nothing is heard, and nobody answers.
    """
    message = await subscription.get_message(timeout=_QUIET_SECONDS)
    if message is None:
        await subscription.ping()
        message = await subscription.get_message(timeout=COMMAND_TIMEOUT_SECONDS)
    if message is None:
        raise TimeoutError("the connection is silent")
    return message
