"""`ctx.once` in memory: the first run enters the block, and a failure lets the next one in."""

from __future__ import annotations

import asyncio

import pytest

from handlers.once import InMemoryOnce


async def test_only_the_first_is_first() -> None:
    """The first block of each key is first, and the later ones are not."""
    once = InMemoryOnce()
    answers = []
    for key in ("crm", "crm", "slack", "crm"):
        async with once(key) as first:
            answers.append(first)
    assert answers == [True, False, True, False]


async def test_a_failure_releases_the_key() -> None:
    """A block that raises releases its key, so the retry does what was not done."""
    once = InMemoryOnce()
    with pytest.raises(RuntimeError):
        async with once("crm"):
            raise RuntimeError
    async with once("crm") as first:
        assert first


async def test_a_cancelled_block_releases_the_key() -> None:
    """A block that is cancelled, as by a time limit, releases its key."""
    once = InMemoryOnce()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), once("crm"):
            await asyncio.Event().wait()
    async with once("crm") as first:
        assert first


async def test_a_failure_of_the_second_releases_nothing() -> None:
    """A failure of a run that was not first releases nothing, because the effect has happened."""
    once = InMemoryOnce()
    async with once("crm"):
        pass
    with pytest.raises(RuntimeError):
        async with once("crm"):
            raise RuntimeError
    async with once("crm") as first:
        assert not first


async def test_the_second_does_not_wait_for_the_first() -> None:
    """A run that comes while the first block runs is not first, and does not wait."""
    once = InMemoryOnce()
    async with once("crm") as first, once("crm") as second:
        assert (first, second) == (True, False)
