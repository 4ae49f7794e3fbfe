"""How long is waited between two tries while Redis is away."""

from __future__ import annotations

import asyncio

import pytest

from broker.redis.outage import Outage


async def test_the_waits_of_an_outage_grow_and_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait doubles up to two seconds and is random, so workers that lost Redis do not come back together."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    outage = Outage()
    for _ in range(200):
        await outage.wait(ConnectionError())
    for failures, ceiling in enumerate((0.2, 0.4, 0.8, 1.6, 2.0)):
        assert ceiling / 2 <= waits[failures] <= ceiling
    later = waits[5:]
    assert len(set(later)) == len(later)
    assert 1.0 <= min(later) < 1.2
    assert 1.8 < max(later) <= 2.0
