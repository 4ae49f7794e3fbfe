"""The processes that are measured: start one with a clean environment, read what it uses, wait for it, stop it."""

import asyncio
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.harness.figures import NotMeasuredError

ROOT = Path(__file__).parents[2]
Command = tuple[str, ...]

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


class MeasuredProcess:
    """A process under measurement. `handle` is what psutil knows about it."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self.handle = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """The CPU time that it and its children have used since their start."""
        times = [member.cpu_times() for member in (self.handle, *self.handle.children(recursive=True))]
        return sum(time.user + time.system for time in times)

    def rss_mib(self) -> float:
        """How much memory it has, in MiB."""
        return float(self.handle.memory_info().rss) / 2**20

    def log(self) -> str:
        """What it has written to standard output and standard error."""
        return self._log.read_text(errors="replace")

    def check(self) -> bool:
        """True while it runs; NotMeasuredError if it has ended, with the end of its log."""
        if self._process.returncode is not None:
            raise NotMeasuredError(f"it ended with {self._process.returncode}:\n{self.log()[-2000:]}")
        return True

    async def has_logged(self, text: str) -> None:
        """Wait until its log holds this text."""
        await until(lambda: self.check() and text in self.log(), seconds=_START_SECONDS)

    async def listening(self, port: int) -> None:
        """Wait until it accepts connections."""

        def connected() -> bool:
            with socket.socket() as probe:
                return self.check() and probe.connect_ex(("127.0.0.1", port)) == 0

        await until(connected, seconds=_START_SECONDS)

    async def ended(self) -> None:
        """Wait until it has ended; NotMeasuredError if it failed."""
        if await self._process.wait() != 0:
            self.check()

    async def kill(self) -> None:
        """Kill it (kill -9)."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and kill it if it does not."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
            except TimeoutError:
                await self.kill()


@asynccontextmanager
async def running(
    command: Command, environment: Mapping[str, str], folder: Path, given: bytes = b""
) -> AsyncIterator[MeasuredProcess]:
    """Run a command in a folder, with this on its standard input, and stop it at the end."""
    path = Path(tempfile.mkdtemp(dir=folder, prefix="process-"))
    stdin, log = path / "stdin", path / "log"
    stdin.write_bytes(given)
    with stdin.open("rb") as source, log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *command, env={**clean_environment(), **environment}, cwd=folder, stdin=source, stdout=sink, stderr=sink
        )
    measured = MeasuredProcess(process, log)
    try:
        yield measured
    finally:
        await measured.stop()


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float, look_seconds: float = 0.02) -> None:
    """Look again and again until a condition holds that nothing notifies us of; NotMeasuredError if it never does."""
    deadline = time.monotonic() + seconds
    while not (await answer if isinstance(answer := condition(), Awaitable) else answer):
        if time.monotonic() > deadline:
            raise NotMeasuredError(f"what was waited for did not happen within {seconds:g} s")
        await asyncio.sleep(look_seconds)


def clean_environment() -> dict[str, str]:
    """Our environment, without the product's settings. The project's packages can be imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
    return {**inherited, "PYTHONPATH": str(ROOT)}


def python(module: str, *arguments: str) -> Command:
    """The command that runs a module in this Python."""
    return (sys.executable, "-m", module, *arguments)


def free_port() -> int:
    """A TCP port that is free, below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
