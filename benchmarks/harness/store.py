"""A fresh Valkey for each sample, with the same settings for every contender. It can be killed and started again."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.harness.processes import free_port, until
from benchmarks.harness.product import Client, ask, close, connect, embedded_server

_REWRITE_SECONDS = 120.0


class Store:
    """A Valkey on loopback TCP, which all clients speak. `client` looks at it from outside."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._port = free_port()
        self._running = AsyncExitStack()
        self._answers = False
        self._earlier_cpu_seconds = 0.0
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client: Client = connect(self.url, timeout_seconds=60)

    async def start(self) -> None:
        """Start it on its data; returns once it has loaded them, and answers."""
        settings = {"appendonly": "yes", "appendfsync": "always", "bind": "127.0.0.1", "port": str(self._port)}
        await self._running.enter_async_context(embedded_server(self._data, settings))
        self._answers = True

    async def kill(self) -> None:
        """Kill it (kill -9)."""
        self._earlier_cpu_seconds, self._answers = await self.cpu_seconds(), False
        os.kill(int(await self.info("process_id")), signal.SIGKILL)
        await self._running.aclose()

    async def close(self) -> None:
        """Stop it, if it is running."""
        await close(self.client)
        await self._running.aclose()

    async def info(self, name: str) -> str:
        """What it says about itself under this name; empty if nothing."""
        return str((await ask(self.client, "INFO")).get(name, ""))

    async def cpu_seconds(self) -> float:
        """How much CPU time it has used, before and after it was killed."""
        if not self._answers:
            return self._earlier_cpu_seconds
        usage = await ask(self.client, "INFO", "cpu")
        return self._earlier_cpu_seconds + float(usage["used_cpu_user"]) + float(usage["used_cpu_sys"])

    @asynccontextmanager
    async def filling(self) -> AsyncIterator[None]:
        """Fill a queue without waiting for the disk, before the clock starts. At the end the disk is idle."""
        await ask(self.client, "CONFIG SET", "appendfsync", "no")
        yield
        await until(self._rewritten, seconds=_REWRITE_SECONDS)
        await ask(self.client, "CONFIG SET", "appendfsync", "always")

    async def _rewritten(self) -> bool:
        """Whether no child process rewrites the append-only file, or is about to."""
        return {await self.info("aof_rewrite_in_progress"), await self.info("aof_rewrite_scheduled")} == {"0"}


@asynccontextmanager
async def fresh_store(folder: Path) -> AsyncIterator[Store]:
    """An empty Valkey with its data below `folder`: that must be a real disk, or fsync would cost nothing."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="valkey-") as data:
        store = Store(Path(data))
        try:
            await store.start()
            yield store
        finally:
            await store.close()
