"""Processes of one role that are kept running: one that dies is replaced, as `serve`, systemd or Kubernetes would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import OurProcess

Up = Callable[[OurProcess], Awaitable[str]]
"""Waits until a process is up; returns what there is to know about it."""


async def receiver_up(process: OurProcess) -> str:
    """Wait until a receiver listens, its admin listener as well; returns its origin."""
    await process.listening("receiver.admin")
    return await process.listening("receiver")


async def worker_up(process: OurProcess) -> str:
    """Wait until a worker runs; returns nothing to speak of."""
    await process.logged("worker.started")
    return ""


class Crew:
    """So many processes of one role. An async context manager; `complete` waits until all are up.

    Args:
        role: `receiver` or `worker`.
        up: waits until one is up.
        size: how many.
        env: their environment.
        folder: their working directory; what they wrote goes there when they end.
    """

    def __init__(self, role: str, up: Up, *, size: int, env: Mapping[str, str], folder: Path) -> None:
        self._role = role
        self._up = up
        self._size = size
        self._env = env
        self._folder = folder
        self._running: dict[OurProcess, str] = {}
        self._change = asyncio.Condition()
        self._keepers: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(self._size)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    @property
    def members(self) -> list[OurProcess]:
        """Those that are up, the oldest first."""
        return list(self._running)

    def origins(self, first: OurProcess | None = None) -> list[str]:
        """Where they listen; `first` before all others."""
        return [self._running[member] for member in sorted(self._running, key=lambda member: member is not first)]

    async def complete(self) -> None:
        """Wait until all are up."""
        await self._until(lambda: len(self._running) == self._size)

    async def kill(self, member: OurProcess) -> None:
        """End one without a chance to say goodbye; another one starts."""
        member.process.kill()
        await self.gone(member)

    async def terminate(self, member: OurProcess) -> None:
        """Ask one to stop, and wait until it has; another one starts."""
        member.process.terminate()
        await self.gone(member)

    async def gone(self, member: OurProcess) -> None:
        """Wait until one has ended."""
        await self._until(lambda: member not in self._running)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with self._change:
            await self._change.wait_for(lambda: condition() or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    async def _keep(self) -> None:
        try:
            while True:
                await self._run_one()
        except Exception as failure:  # noqa: BLE001 - the code that waits for the crew gets it
            async with self._change:
                self._failure = failure
                self._change.notify_all()

    async def _run_one(self) -> None:
        async with await OurProcess.start(self._role, env=self._env, cwd=self._folder) as process:
            try:
                known = await self._up(process)
                async with self._change:
                    self._running[process] = known
                    self._change.notify_all()
                await process.process.wait()
            finally:
                async with self._change:
                    self._running.pop(process, None)
                    self._change.notify_all()
        self._save(process)

    def _save(self, process: OurProcess) -> None:
        with (self._folder / f"{self._role}.log").open("a") as log:
            log.write(f"--- {process.process.pid} ended with {process.process.returncode}\n{process.stderr}")
