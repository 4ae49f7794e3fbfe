"""A receiver for each test, on a free port and on a key space of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from receiver.verification import AccountPolicy
from tests.support.held import HeldCommit
from tests.support.http import TOKEN, RunningReceiver, receiving
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]


@pytest.fixture
async def start(server: RedisClient) -> AsyncIterator[Start]:
    """Starts a receiver with an account policy of these fields."""
    async with AsyncExitStack() as stack:

        async def start_it(**fields: Any) -> RunningReceiver:
            """Start one."""
            return await stack.enter_async_context(receiving(AccountPolicy(**fields), server))

        yield start_it


@pytest.fixture
async def receiver(start: Start) -> RunningReceiver:
    """A receiver that takes a token."""
    return await start(tokens=[TOKEN])


@pytest.fixture
def held(server: RedisClient) -> HeldCommit:
    """A store that keeps the receiver waiting."""
    return HeldCommit(server)
