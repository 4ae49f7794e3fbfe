"""Run the roles as child processes, restart one that dies, stop all together. Used by `serve` and `--processes`.

Processes of their own, because a handler that crashes the worker must not keep the receiver from answering.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from konvox_hooks.errors import UsageError
from konvox_hooks.process.own_command import own_command
from konvox_hooks.process.signals import bound_to_parent, on_stop_signal

_CONFIGURATION_FAULT = 2
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_STEADY_SECONDS = 30.0
"""After a child has run that long, the pause before its next start is the first one again."""

logger = structlog.get_logger("konvox_hooks")


@dataclass(frozen=True, slots=True)
class Child:
    """A command of ours to keep running.

    Attributes:
        name: for the log.
        arguments: of `konvox-hooks`.
        environment: variables in addition to ours.
        ends: whether it is done when it ends with 0, as with `--burst`; otherwise it is started again then too.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False


async def start(child: Child) -> asyncio.subprocess.Process:
    """Start a command of ours in a process of its own, in the same Python. It stops when this process is gone."""
    return await asyncio.create_subprocess_exec(
        *own_command(*child.arguments, f"--with-parent={os.getpid()}"),
        env={**os.environ, **child.environment},
        start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on once
    )


class Supervisor:
    """Keeps children running until it is asked to stop."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._misconfigured: str | None = None

    async def run(self, *, parent_pid: int | None = None) -> None:
        """Run until SIGTERM or SIGINT. A second signal is passed on as well, and stops the children at once.

        Args:
            parent_pid: our own parent process, if we are to stop when it is gone.

        Raises:
            UsageError: a child found its configuration wrong. It has said what; another start would not help.
        """
        on_stop_signal(self._stop)
        async with bound_to_parent(self._stop, parent_pid), asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(self._keep_running(child))
        if self._misconfigured is not None:
            raise UsageError(f"the {self._misconfigured} did not start, see above; nothing is running any more")

    def _stop(self) -> None:
        # The second is another signal: a child that has not yet handled the first SIGTERM would see two as one.
        signum = signal.SIGINT if self._stopping.is_set() else signal.SIGTERM
        self._stopping.set()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signum)

    async def _keep_running(self, child: Child) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        first_start = True
        while not self._stopping.is_set():
            started = time.monotonic()
            process = self._running[child.name] = await start(child)
            if self._stopping.is_set():
                process.terminate()  # the signal came while it was being started
            logger.info("child.started", child=child.name, process_id=process.pid)
            code = await process.wait()
            del self._running[child.name]
            if self._stopping.is_set() or (code == 0 and child.ends):
                return
            if code == _CONFIGURATION_FAULT and first_start:  # later, the others run on without it
                self._misconfigured = child.name
                self._stop()
                return
            first_start = False
            if time.monotonic() - started > _STEADY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            logger.error("child.died", child=child.name, exit_code=code, restart_in_seconds=pause_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_seconds)
            pause_seconds = min(_LONGEST_PAUSE_SECONDS, pause_seconds * 2)
