"""Our own commands as child processes: start one, wait for what it says, stop it. Used by the demo and the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import orjson

from konvox_hooks.errors import Failed
from konvox_hooks.process.own_command import own_command

WAIT_SECONDS = 20.0
"""How long to wait for a line, or for the end of a process."""

Line = dict[str, Any]


class OurProcess:
    """A running `konvox-hooks …`, with its output read line by line.

    Use it as `async with await OurProcess.start("worker", …) as worker:`. If it still runs at the end, it is killed.

    Attributes:
        process: the process.
        stdout: all that it has written there so far.
        stderr: likewise.
        lines: the lines of both that are JSON objects: its log and its results.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.stdout = ""
        self.stderr = ""
        self.lines: list[Line] = []
        self._news = asyncio.Condition()
        self._open_streams = 2
        self._reading = asyncio.gather(self._read(process.stdout, "stdout"), self._read(process.stderr, "stderr"))

    @classmethod
    async def start(cls, *arguments: str, env: Mapping[str, str], cwd: Path) -> Self:
        """Start a command of ours in the same Python.

        Args:
            *arguments: of `konvox-hooks`.
            env: the whole environment.
            cwd: the working directory; its `.env` counts.
        """
        process = await asyncio.create_subprocess_exec(
            *own_command(*arguments),
            env=env,
            cwd=cwd,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the process that started it, which stops it in order
        )
        return cls(process)

    async def said(self, fits: Callable[[Line], bool], what: str) -> Line:
        """Wait for a JSON line that fits, and return it; `what` describes it for the error.

        Raises:
            Failed: it ended, or the time is up; the message holds what it wrote.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._news:
                while True:
                    for line in self.lines:
                        if fits(line):
                            return line
                    if self._open_streams == 0:
                        raise Failed(f"it ended without {what}; it wrote:\n{self.stderr}")
                    await self._news.wait()
        except TimeoutError:
            raise Failed(f"no {what} within {WAIT_SECONDS:g} s; it wrote:\n{self.stderr}") from None

    async def logged(self, event: str, **values: object) -> Line:
        """Wait for a log line with this event name and these values, and return it."""
        return await self.said(
            lambda line: line.get("event") == event and all(line.get(name) == value for name, value in values.items()),
            f"log line {event} {values or ''}",
        )

    async def listening(self, listener: str) -> str:
        """Wait until a listener is up (`receiver`, `receiver.admin`, `worker.admin`), and return its URL."""
        line = await self.logged("listener.started", listener=listener)
        return str(line["url"])

    async def ended(self) -> int:
        """Wait until it ends by itself; returns the exit code.

        Raises:
            Failed: the time is up; the message holds what it wrote.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                # Shielded, because the streams are waited for again after a time-out has been reported.
                await asyncio.shield(self._reading)
                return await self.process.wait()
        except TimeoutError:
            raise Failed(f"it did not end within {WAIT_SECONDS:g} s; it wrote:\n{self.stderr}") from None

    async def terminate(self) -> int:
        """Send SIGTERM and wait for the end; returns the exit code."""
        self.process.terminate()
        return await self.ended()

    async def kill(self) -> None:
        """Send SIGKILL, unless it has just ended by itself, and wait for the end."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            await self.kill()
        await self._reading

    async def _read(self, stream: asyncio.StreamReader | None, name: str) -> None:
        while stream is not None and (raw := await stream.readline()):
            text = raw.decode(errors="replace")
            setattr(self, name, getattr(self, name) + text)
            async with self._news:
                if text.startswith("{"):
                    self.lines.append(orjson.loads(raw))
                self._news.notify_all()
        async with self._news:
            self._open_streams -= 1
            self._news.notify_all()
