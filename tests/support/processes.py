"""Our commands as real processes, without the developer's own settings in their environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from konvox_hooks.demo import command_process


class OurProcess(command_process.OurProcess):
    """See `konvox_hooks.demo.command_process.OurProcess`."""

    @classmethod
    async def start(cls, *arguments: str, env: Mapping[str, str], cwd: Path) -> Self:
        """Start a command with only `env` of ours in its environment."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
        return await super().start(*arguments, env={**clean, **env}, cwd=cwd)

    async def wrote_lines(self, count: int) -> None:
        """Wait until it has written this many lines to stdout."""
        async with asyncio.timeout(command_process.WAIT_SECONDS), self._news:
            await self._news.wait_for(lambda: self.stdout.count("\n") >= count)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of its log so far."""
        return [line for line in self.lines if "event" in line]


def worker_environment(redis_url: str, **more: str) -> dict[str, str]:
    """The environment of a worker with the handlers of `mine.py` in its folder, and a short lease."""
    return {
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LEASE_SECONDS": "1",
        **more,
    }
