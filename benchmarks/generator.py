"""The load generators as processes of their own, as the measures use them: make them ready, let them go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from benchmarks.processes import ROOT, NotMeasuredError, python

LONGEST_SECONDS = 120.0


class Generator:
    """A generator that has warmed up, and waits for the word."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def go(self, *, longest_seconds: float = LONGEST_SECONDS) -> dict[str, float]:
        """Let it send; returns what it says came out.

        Raises:
            NotMeasuredError: not every request was answered with 200.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        return dict(orjson.loads(await self._line(longest_seconds)))

    @asynccontextmanager
    async def going(self, *, longest_seconds: float = LONGEST_SECONDS) -> AsyncIterator[asyncio.Task[dict[str, float]]]:
        """Let it send while something else happens; yields a task that ends with what came out."""
        task = asyncio.create_task(self.go(longest_seconds=longest_seconds))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    def enough(self) -> None:
        """Tell the open loop to send no more."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def ready(self) -> None:
        """Wait until it has warmed up."""
        await self._line(LONGEST_SECONDS)

    async def _line(self, longest_seconds: float) -> bytes:
        assert self._process.stdout is not None
        async with asyncio.timeout(longest_seconds):
            line = await self._process.stdout.readline()
        if not line:
            raise NotMeasuredError("the load generator gave up, see above")
        return line


@asynccontextmanager
async def generator(module: str, **options: object) -> AsyncIterator[Generator]:
    """Start a generator and wait until it has warmed up; `options` become its arguments."""
    arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    process = await asyncio.create_subprocess_exec(
        *python(module, *arguments),
        cwd=ROOT,
        env=dict(os.environ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        load = Generator(process)
        await load.ready()
        yield load
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
