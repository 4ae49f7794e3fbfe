"""A fresh Valkey for each sample, with the same settings for everybody, and what it did meanwhile."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arq.connections import ArqRedis, RedisSettings

from benchmarks.processes import free_port, until
from broker.redis.client import close, connect
from broker.redis.embedded import embedded_server

_REWRITE_SECONDS = 120.0

SETTINGS = {"appendonly": "yes", "appendfsync": "always"}


@dataclass(frozen=True, slots=True)
class Store:
    """A running Valkey.

    Attributes:
        url: where it listens, on loopback TCP: what a store of one's own usually is, and what all clients speak.
        client: a connection for whoever looks on.
    """

    url: str
    client: ArqRedis

    async def cpu_seconds(self) -> float:
        """How much CPU time it has used since its start."""
        usage: Any = await self.client.info("cpu")
        return float(usage["used_cpu_user"]) + float(usage["used_cpu_sys"])

    async def used_mib(self) -> float:
        """How much memory its data take, in MiB."""
        memory: Any = await self.client.info("memory")
        return float(memory["used_memory"]) / 2**20

    @asynccontextmanager
    async def filling(self) -> AsyncIterator[None]:
        """While a queue is filled before the clock starts, nobody waits for the disk; at the end, it is at rest."""
        await self.client.config_set("appendfsync", "no")
        yield
        await until(self._rewritten, seconds=_REWRITE_SECONDS)
        await self.client.config_set("appendfsync", SETTINGS["appendfsync"])

    async def _rewritten(self) -> bool:
        """Whether no child process of its own is writing the append-only file anew."""
        state: Any = await self.client.info("persistence")
        return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]

    async def version(self) -> str:
        """Its name and version."""
        server: Any = await self.client.info("server")
        return f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}"


class BreakableStore:
    """A Valkey that can be killed, and started again on its data.

    Args:
        data: the folder of its data.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._port = free_port()
        self._running = AsyncExitStack()
        self._answers = False
        self._earlier_cpu_seconds = 0.0
        self.store = Store(
            f"redis://127.0.0.1:{self._port}/0", connect(f"redis://127.0.0.1:{self._port}/0", timeout_seconds=60)
        )

    async def start(self) -> None:
        """Start it; returns once it has loaded its data, and answers."""
        settings = {**SETTINGS, "bind": "127.0.0.1", "port": str(self._port)}
        await self._running.enter_async_context(embedded_server(self._data, settings))
        self._answers = True

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._earlier_cpu_seconds, self._answers = await self.cpu_seconds(), False
        server: Any = await self.store.client.info("server")
        os.kill(int(server["process_id"]), signal.SIGKILL)
        await self._running.aclose()

    async def cpu_seconds(self) -> float:
        """How much CPU time it has used, in all of its lives."""
        return self._earlier_cpu_seconds + (await self.store.cpu_seconds() if self._answers else 0.0)

    async def close(self) -> None:
        """Stop it, if it is running."""
        await close(self.store.client)
        await self._running.aclose()


@asynccontextmanager
async def breakable_store(folder: Path) -> AsyncIterator[BreakableStore]:
    """An empty Valkey whose data lie below `folder`: that must be a real disk, or fsync would cost nothing."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="valkey-") as data:
        breakable = BreakableStore(Path(data))
        try:
            await breakable.start()
            yield breakable
        finally:
            await breakable.close()


@asynccontextmanager
async def fresh_store(folder: Path) -> AsyncIterator[Store]:
    """The same for whoever does not break it."""
    async with breakable_store(folder) as breakable:
        yield breakable.store


def arq_settings(url: str) -> RedisSettings:
    """The same address for whoever uses arq."""
    parts = urlsplit(url)
    return RedisSettings(host=parts.hostname or "127.0.0.1", port=parts.port or 6379)
