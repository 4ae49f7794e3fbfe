"""The processes that are measured: start one with a clean environment, read its CPU time, stop it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.02


class NotMeasuredError(Exception):
    """A sample cannot be taken, or what came out is not what went in."""


class Measured:
    """A process under measurement."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """The CPU time that it and its children have used since their start."""
        family = psutil.Process(self._process.pid)
        times = [member.cpu_times() for member in (family, *family.children(recursive=True))]
        return sum(time.user + time.system for time in times)

    def check(self) -> None:
        """Raise NotMeasuredError if it has ended; the message holds its last words."""
        if self._process.returncode is not None:
            raise NotMeasuredError(f"it ended with {self._process.returncode}:\n{self._log.read_text()[-2000:]}")

    async def has_logged(self, text: str, *, times: int = 1) -> None:
        """Wait until its log holds this text, so many times."""

        async def found() -> bool:
            """Whether it does."""
            self.check()
            return self._log.read_text(errors="replace").count(text) >= times

        await until(found, seconds=START_SECONDS)

    def check_log(self) -> None:
        """Raise NotMeasuredError if it has logged a failure: not everybody keeps an account of those."""
        text = self._log.read_text(errors="replace")
        if "Traceback" in text:
            raise NotMeasuredError(f"something went wrong in it:\n{text[-2000:]}")

    async def listening(self, port: int) -> None:
        """Wait until it accepts connections."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                self.check()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    def rss_mib(self) -> float:
        """How much memory it has, in MiB."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 2**20

    def open_files(self) -> int:
        """How many file descriptors it has open, sockets included."""
        return int(psutil.Process(self._process.pid).num_fds())

    def threads(self) -> int:
        """How many threads it has."""
        return int(psutil.Process(self._process.pid).num_threads())

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and make sure that it does."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> AsyncIterator[Measured]:
    """Run a command in `folder`; the project's packages can be imported, none of its settings is inherited."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
    with tempfile.NamedTemporaryFile(dir=folder, prefix="process-", suffix=".log", delete=False) as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    measured = Measured(process, Path(output.name))
    try:
        yield measured
    finally:
        await measured.stop()


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float, look_seconds: float = _LOOK_SECONDS
) -> None:
    """Look until a condition holds of which nobody tells us.

    Raises:
        NotMeasuredError: it does not in this time.
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise NotMeasuredError(f"what was waited for did not happen within {seconds:g} s")
        await asyncio.sleep(look_seconds)


async def run_to_end(command: Sequence[str], environment: Mapping[str, str], folder: Path, given: bytes) -> None:
    """Run a command in `folder` with this on its standard input.

    Raises:
        NotMeasuredError: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate(given)
    if process.returncode != 0:
        raise NotMeasuredError(f"it ended with {process.returncode}:\n{complaint.decode()[-2000:]}")


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module in this Python."""
    return (sys.executable, "-m", module, *arguments)


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
