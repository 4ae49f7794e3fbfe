"""A fresh Valkey for each sample, with the same settings for everybody, and what it did meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arq.connections import ArqRedis, RedisSettings

from benchmarks.processes import free_port, until
from broker.connection import close, connect
from broker.embedded import embedded_server

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


@asynccontextmanager
async def fresh_store(folder: Path) -> AsyncIterator[Store]:
    """An empty Valkey whose data lie below `folder`: that must be a real disk, or fsync would cost nothing."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="valkey-") as data:
        port = free_port()
        settings = {**SETTINGS, "bind": "127.0.0.1", "port": str(port)}
        async with embedded_server(Path(data), settings):
            url = f"redis://127.0.0.1:{port}/0"
            client = connect(url, timeout_seconds=60)
            try:
                yield Store(url, client)
            finally:
                await close(client)


def arq_settings(url: str) -> RedisSettings:
    """The same address for whoever uses arq."""
    parts = urlsplit(url)
    return RedisSettings(host=parts.hostname or "127.0.0.1", port=parts.port or 6379)
