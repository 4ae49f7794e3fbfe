"""What the tests of the failover writer need: a store in place of Redis that fails as a test wants, and a spool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver.failover import FailoverWriter
from receiver.spool import Spool
from tests.support.spooling import ROOM


class Store:
    """What the writer writes to, and what a test wants of it.

    Attributes:
        away: whether it refuses everything.
        batches: what it was given, and took.
        tries: how often it was asked.
    """

    def __init__(self) -> None:
        self.away = False
        self.batches: list[list[str]] = []
        self.tries = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def write(self, jobs: Sequence[Job]) -> list[bool]:
        """Take a batch once the gate is open, or refuse it."""
        self.tries += 1
        self.asked.set()
        await self.gate.wait()
        if self.away:
            raise BrokerUnavailableError("away")
        known = set(self.ids)
        self.batches.append([job.id for job in jobs])
        return [job.id not in known for job in jobs]

    @property
    def ids(self) -> list[str]:
        """Everything that it took, in order."""
        return [job_id for batch in self.batches for job_id in batch]

    async def until_asked(self) -> None:
        """Wait until it is asked again."""
        self.asked.clear()
        await self.asked.wait()


class Bench:
    """A store, a spool and a writer between the two."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.store = Store()
        self._stack = stack

    async def open(self, *, max_bytes: int = ROOM, **fields: Any) -> FailoverWriter:
        """Open a writer."""
        spool = await self._stack.enter_async_context(Spool(self.folder, max_bytes=max_bytes))
        return await self._stack.enter_async_context(FailoverWriter(self.store.write, spool, **fields))

    async def close(self) -> None:
        """Close what is open, as when the receiver stops."""
        await self._stack.aclose()
