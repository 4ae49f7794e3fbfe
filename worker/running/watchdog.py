"""Notice a handler that blocks the event loop: name and count it, and end the process if it blocks for ever.

A daemon thread beside the lease renewal. It asks the loop for a sign of life four times a second, and looks at tasks
and stacks only if there is none: an event costs nothing more for that. While the loop is blocked nothing else runs
there, so the thread itself releases the jobs that are not to blame, and ends the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

import structlog

from broker import queue
from broker.queue import Claimed
from broker.records import Job
from broker.redis.client import OUTAGES
from broker.redis.commands import BlockingServer
from handlers.registry import Handler
from worker.running import dispatcher
from worker.running.once import OnceBlocks
from worker.running.timeouts import Run

LOOK_SECONDS = 0.25
"""How often the loop is asked for a sign of life."""

WARN_SECONDS = 1.0
"""How long the loop is blocked before that is logged; again after double the time, and double again."""

_DEBUGGERS = frozenset({"bdb", "pdb", "pydevd", "debugpy"})

RunIn = Callable[[asyncio.Task[Any]], Run | None]
"""Tells which handler runs in a task, and for which job; see `Dispatcher.run_in`."""

logger = structlog.get_logger("worker")


@dataclass(frozen=True, slots=True)
class BlockingHandler:
    """The handler that blocks the loop.

    Attributes:
        handler: the handler; None if it is unknown, because it blocks in a task that it has made itself.
        job: the job that it runs for.
        stack: where it is, as text; it begins in the user's code.
        debugged: whether somebody is in a debugger there, and blocks the loop on purpose.
    """

    handler: Handler | None = None
    job: Job | None = None
    stack: str = ""
    debugged: bool = False

    @property
    def name(self) -> str | None:
        """The handler's name."""
        return self.handler.name if self.handler else None

    @property
    def run(self) -> tuple[str | None, str | None]:
        """What distinguishes one run from another."""
        return self.name, self.job.id if self.job else None


@dataclass(slots=True)
class _Block:
    """One time that the loop was blocked, counted in looks: a process that was suspended is not blamed."""

    seconds: float = 0.0
    by: BlockingHandler = field(default_factory=BlockingHandler)
    by_this_seconds: float = 0.0
    signalled_seconds: float = 0.0
    warnings: int = 0

    def lasts(self, by: BlockingHandler) -> None:
        if by.run != self.by.run:
            self.by_this_seconds = 0.0
        self.by = by
        self.seconds += LOOK_SECONDS
        self.by_this_seconds += LOOK_SECONDS


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """How long the loop may be blocked before the process ends.

    Attributes:
        lease_seconds: a handler may block for its own time limit and this.
        longest_run_seconds: taken for the time limit of a handler that is unknown.
        stop_seconds: how long handlers may take once the worker is asked to stop.
    """

    lease_seconds: float
    longest_run_seconds: float
    stop_seconds: float

    def seconds_for(self, by: BlockingHandler) -> float:
        """How long this handler may block."""
        limit_seconds = by.handler.timeout_seconds if by.handler else self.longest_run_seconds
        return limit_seconds + self.lease_seconds


class Watchdog:
    """Watches the event loop of the thread that makes it, from `start` to `stop`.

    Args:
        connect: makes the connection of the thread, to release jobs.
        claims: the jobs in flight; called from the thread.
        run_in: tells what runs in a task; called from the thread.
        once: the blocks of `ctx.once` that are running.
        limits: how long the loop may be blocked.
        end: ends the process with an exit code; tests replace it.

    Attributes:
        blocks: how often the loop was blocked for `WARN_SECONDS` or longer.
        blocked_seconds: for how long, in all.
    """

    def __init__(
        self,
        connect: Callable[[], BlockingServer],
        *,
        claims: Callable[[], Sequence[Claimed]],
        run_in: RunIn,
        once: OnceBlocks,
        limits: BlockLimits,
        end: Callable[[int], object] | None = None,
    ) -> None:
        self.blocks = 0
        self.blocked_seconds = 0.0
        self._connect = connect
        self._claims = claims
        self._run_in = run_in
        self._once = once
        self._limits = limits
        self._end = end or end_process
        self._loop = asyncio.get_running_loop()
        self._loop_thread_id = threading.get_ident()
        self._stopped = threading.Event()
        self._signals = 0

    def start(self) -> None:
        """Start watching."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching; returns at once, the thread ends by itself."""
        self._stopped.set()

    def watch_signals(self, signums: Collection[signal.Signals]) -> None:
        """Notice these signals while the loop is blocked as well; the loop must have handlers for them already."""
        for signum in signums:
            signal.signal(signum, self._note_signal)  # the loop gets it all the same, through its wakeup descriptor
            signal.siginterrupt(signum, False)  # noqa: FBT003 - takes no keyword

    def _note_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            alive = threading.Event()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop is closed
                return
            block = _Block()
            while not alive.wait(LOOK_SECONDS) and self._loop.is_running():
                try:
                    block.lasts(self._blocking_handler())
                    block.signalled_seconds += LOOK_SECONDS if self._signals else 0.0
                    if block.seconds >= WARN_SECONDS and not self._stopped.is_set():
                        self._judge(block)
                except Exception:
                    logger.exception("watchdog.failed")  # the thread must not end: nobody would watch any more
            if block.seconds >= WARN_SECONDS:
                logger.warning("loop.unblocked", handler=block.by.name, blocked_seconds=block.seconds)

    def _blocking_handler(self) -> BlockingHandler:
        task = asyncio.current_task(self._loop)
        return blocking_handler(self._run_in(task) if task else None, sys._current_frames().get(self._loop_thread_id))

    def _judge(self, block: _Block) -> None:
        self._count(block)
        if block.seconds >= WARN_SECONDS * 2**block.warnings:
            block.warnings += 1
            self._warn(block)
        if self._signals:
            if self._signals > 1 or block.signalled_seconds >= self._limits.stop_seconds:
                self._stop_worker(block)
        elif block.by_this_seconds >= self._limits.seconds_for(block.by) and not block.by.debugged:
            self._abort_worker(block)

    def _count(self, block: _Block) -> None:
        self.blocks += block.warnings == 0
        self.blocked_seconds += block.seconds if block.warnings == 0 else LOOK_SECONDS

    def _warn(self, block: _Block) -> None:
        logger.warning(
            "loop.blocked",
            handler=block.by.name,
            delivery=block.by.job and block.by.job.delivery,
            blocked_seconds=block.seconds,
            hint="await what takes long, or write the handler as a plain def: those run in threads",
            stack=block.by.stack,
        )

    def _stop_worker(self, block: _Block) -> None:
        """The worker was asked to stop: release everything, and blame no event for it."""
        released = self._release(self._claims())
        logger.warning("worker.stopped_while_blocked", handler=block.by.name, released=released)
        self._end(0)

    def _abort_worker(self, block: _Block) -> None:
        """A crash that only the blocking handler's event counts. If that is unknown, all events in flight do."""
        job = block.by.job
        innocent = [claim for claim in self._claims() if claim.job_id != job.id] if job else []
        logger.error(
            "worker.aborted",
            handler=block.by.name,
            delivery=job and job.delivery,
            blocked_seconds=block.seconds,
            released=self._release(innocent),
            what_happens="this worker ends with exit code 1; the event counts as having crashed it",
            stack=block.by.stack,
        )
        self._end(1)

    def _release(self, claims: Sequence[Claimed]) -> int:
        if not claims:
            return 0
        try:
            with self._connect() as server:
                self._once.release_blocking(server)
                return queue.release_blocking(server, claims)
        except OUTAGES:
            return 0  # they run again when their leases lapse


def blocking_handler(run: Run | None, frame: FrameType | None) -> BlockingHandler:
    """What is known of a handler that blocks a thread.

    Args:
        run: what runs in the thread's current task, if that is known.
        frame: the innermost frame of the thread.
    """
    debugged, inner_frames = False, 0
    stack = traceback.extract_stack(frame) if frame else []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if run and module == dispatcher.__name__:
            break  # from here outwards, it is not the user's code
        debugged = debugged or module.partition(".")[0] in _DEBUGGERS
        inner_frames += 1
        frame = frame.f_back
    handler, job = run or (None, None)
    return BlockingHandler(handler, job, "".join(traceback.format_list(stack[-inner_frames:])), debugged)


def end_process(exit_code: int) -> NoReturn:
    """End the process at once, waiting for nothing; what was written to stdout and stderr still comes out."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(exit_code)
