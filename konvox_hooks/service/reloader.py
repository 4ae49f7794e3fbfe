"""A worker that is started again whenever a file of handlers changes. Used by `konvox-hooks dev`.

No event is lost by that: the old worker finishes what it runs, or releases it to the queue, where new events wait. A
file that does not load ends the worker with a message; the next change starts it again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

import structlog

from konvox_hooks.service.supervisor import Child, start

_LOOK_SECONDS: Final = 0.3
_SETTLE_SECONDS: Final = 0.1
"""How long a file must stay the same: editors write it in several steps."""

_FINISH_SECONDS: Final = 3.0
"""How long running handlers may take before a reload releases their events."""

_CRASH_PAUSE_SECONDS: Final = 1.0
_CONFIGURATION_FAULT: Final = 2

Snapshot = Mapping[Path, tuple[int, int, int]]

logger = structlog.get_logger("konvox_hooks")


def snapshot(specs: Sequence[str]) -> Snapshot:
    """The Python files around the handlers, each with what changes when it is written.

    Args:
        specs: as in KONVOX_HANDLERS. A file or a module counts with all files in its folder, which it may import; a
            module in a package, or a package, with all files of the outermost package.
    """
    found: dict[Path, tuple[int, int, int]] = {}
    for path in {path for spec in specs for path in _files(spec.strip())}:
        with suppress(OSError):  # gone between two looks, which is a change as well
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _files(spec: str) -> Iterator[Path]:
    if spec.endswith(".py") or "/" in spec or "\\" in spec:
        yield from Path(spec).resolve().parent.glob("*.py")
        return
    # As the worker finds it: the working directory comes after all that is installed.
    found = PathFinder.find_spec(spec.partition(".")[0], [*sys.path, str(Path.cwd())])
    if found is not None and found.submodule_search_locations is not None:
        for folder in found.submodule_search_locations:
            yield from Path(folder).rglob("*.py")
    elif found is not None and found.origin is not None:
        yield from Path(found.origin).parent.glob("*.py")


class ReloadedWorker:
    """Keeps a worker running, with the handlers as they are on disk.

    Args:
        child: the worker's command.
        specs: the handlers, as in KONVOX_HANDLERS.
    """

    def __init__(self, child: Child, specs: Sequence[str]) -> None:
        self._child = child
        self._specs = specs
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    def stop(self) -> None:
        """Let the worker finish what it runs, and end. Called again, have it release that and end at once."""
        self._stopping.set()
        self._terminate()

    async def run(self) -> None:
        """Run until stopped."""
        while not self._stopping.is_set():
            files = snapshot(self._specs)
            self._process = await start(self._child)
            if self._stopping.is_set():
                self._terminate()  # the signal came while it was being started
            ended = asyncio.create_task(self._process.wait())
            changed = asyncio.create_task(self._change(files))
            await asyncio.wait({ended, changed}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(ended)
            elif not self._stopping.is_set():
                await self._ended_by_itself(ended.result(), changed)
            changed.cancel()

    async def _end(self, ended: asyncio.Task[int]) -> None:
        """Have the worker end, because a file changed or we are to stop."""
        if not self._stopping.is_set():
            self._terminate()
            await asyncio.wait({ended}, timeout=_FINISH_SECONDS)
            if not ended.done() and not self._stopping.is_set():
                self._terminate()
        await ended

    async def _ended_by_itself(self, code: int, changed: asyncio.Task[None]) -> None:
        """Wait until it makes sense to start it again."""
        if code == _CONFIGURATION_FAULT:
            # It has said what is wrong; events wait in the queue until the file is fixed.
            logger.error("reload.awaited", hint="fix the file: the worker then starts by itself")
            await changed
            return
        logger.error("child.died", child=self._child.name, exit_code=code, restart_in_seconds=_CRASH_PAUSE_SECONDS)
        await asyncio.wait({changed}, timeout=_CRASH_PAUSE_SECONDS)

    async def _change(self, before: Snapshot) -> None:
        """Wait until a file differs and has settled, or until we are to stop."""
        while (now := snapshot(self._specs)) == before:
            if await self._stopped_within(_LOOK_SECONDS):
                return
        while True:
            if await self._stopped_within(_SETTLE_SECONDS):
                return
            seen, now = now, snapshot(self._specs)
            if now == seen:
                break
        changed = sorted(path.name for path in {*before, *now} if before.get(path) != now.get(path))
        logger.info("handlers.changed", files=changed)

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def _terminate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
