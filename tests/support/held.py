"""A store that keeps the receiver waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from broker.admission import AdmissionPolicy, to_redis
from broker.records import Job
from tests.support.store import RedisClient


class HeldCommit:
    """Redis behind a barrier: batches wait until they are let through."""

    def __init__(self, server: RedisClient) -> None:
        self._to_redis = to_redis(server, AdmissionPolicy())
        self.arrived = asyncio.Event()
        self.let_through = asyncio.Event()

    async def write(self, jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, once it may."""
        self.arrived.set()
        await self.let_through.wait()
        return await self._to_redis(jobs)
