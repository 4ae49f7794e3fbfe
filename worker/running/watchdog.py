"""Notice a handler that blocks the event loop: say which and where, count it, and let go of what blocks for ever.

A daemon thread beside the renewal of leases. It asks the loop for a sign of life four times a second, and looks at the
stacks only when there is none: the way of an event costs nothing more for it. As long as the loop is blocked nothing
else can run there, so the thread does by itself what must be done: it ends the process, and hands back the innocent.
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
from typing import NoReturn, TypeVar

import structlog

from broker import queue
from broker.connection import OUTAGES, connect_blocking
from broker.queue import Claimed
from broker.records import Job
from handlers.registry import Handler
from worker.running import dispatcher
from worker.running.once import OnceBlocks

LOOK_SECONDS = 0.25
"""How often the loop is asked for a sign of life."""

WARN_SECONDS = 1.0
"""How long the loop is blocked before it is worth a word; after that at double the time, and double again."""

_DEBUGGERS = frozenset({"bdb", "pdb", "pydevd", "debugpy"})

T = TypeVar("T")

logger = structlog.get_logger("worker")


@dataclass(frozen=True, slots=True)
class Culprit:
    """Who blocks the loop.

    Attributes:
        handler: the handler, or None where its code cannot be told from others': it runs in a task of its own making.
        job: the job that it runs for.
        stack: where it is, as text.
        debugged: whether somebody looks at it with a debugger, and blocks the loop on purpose.
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
        """What tells one run from another."""
        return self.name, self.job.id if self.job else None


@dataclass(slots=True)
class _Block:
    """One time that the loop was blocked. Counted in looks, so that a process that was suspended is not accused."""

    seconds: float = 0.0
    culprit: Culprit = field(default_factory=Culprit)
    culprits_seconds: float = 0.0
    signalled_seconds: float = 0.0
    warnings: int = 0

    def goes_on(self, culprit: Culprit) -> None:
        if culprit.run != self.culprit.run:
            self.culprits_seconds = 0.0
        self.culprit = culprit
        self.seconds += LOOK_SECONDS
        self.culprits_seconds += LOOK_SECONDS


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a blocked loop is borne.

    Attributes:
        lease_seconds: a handler may block for its own time limit and this.
        longest_run_seconds: the time limit of a handler that cannot be told.
        stop_seconds: how long handlers may take once the worker is asked to stop.
    """

    lease_seconds: float
    longest_run_seconds: float
    stop_seconds: float

    def with_culprit(self, culprit: Culprit) -> float:
        """How long this one may block."""
        limit_seconds = culprit.handler.timeout_seconds if culprit.handler else self.longest_run_seconds
        return limit_seconds + self.lease_seconds


class Watchdog:
    """Watches the event loop of the thread that makes it, from `start` to `stop`.

    Args:
        redis_url: a connection of its own is made to it when something must be handed back.
        held: what is in hand; called from the thread.
        once: the blocks of `ctx.once` that are running.
        patience: see `Patience`.
        end: ends the process with an exit code; other than `end_process` in tests.

    Attributes:
        blocks: how often the loop was blocked for `WARN_SECONDS` or longer.
        blocked_seconds: for how long, in all.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        held: Callable[[], Sequence[Claimed]],
        once: OnceBlocks,
        patience: Patience,
        end: Callable[[int], object] | None = None,
    ) -> None:
        self.blocks = 0
        self.blocked_seconds = 0.0
        self._redis_url = redis_url
        self._held = held
        self._once = once
        self._patience = patience
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

    def heed(self, signums: Collection[signal.Signals]) -> None:
        """Notice these signals while the loop is blocked as well; the loop must have handlers for them already."""
        for signum in signums:
            signal.signal(signum, self._note)  # the loop hears of it all the same, by way of its wakeup descriptor
            signal.siginterrupt(signum, False)  # noqa: FBT003 - takes no keyword

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
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
                    block.goes_on(culprit_of(sys._current_frames().get(self._loop_thread_id)))
                    block.signalled_seconds += LOOK_SECONDS if self._signals else 0.0
                    if block.seconds >= WARN_SECONDS and not self._stopped.is_set():
                        self._judge(block)
                except Exception:
                    logger.exception("watchdog.fault")  # it must not end: nobody would watch any more
            if block.seconds >= WARN_SECONDS:
                logger.warning("loop.free", handler=block.culprit.name, blocked_seconds=block.seconds)

    def _judge(self, block: _Block) -> None:
        self._count(block)
        if block.seconds >= WARN_SECONDS * 2**block.warnings:
            block.warnings += 1
            self._warn(block)
        if self._signals:
            if self._signals > 1 or block.signalled_seconds >= self._patience.stop_seconds:
                self._leave(block)
        elif block.culprits_seconds >= self._patience.with_culprit(block.culprit) and not block.culprit.debugged:
            self._give_up(block)

    def _count(self, block: _Block) -> None:
        self.blocks += block.warnings == 0
        self.blocked_seconds += block.seconds if block.warnings == 0 else LOOK_SECONDS

    def _warn(self, block: _Block) -> None:
        culprit = block.culprit
        logger.warning(
            "loop.blocked",
            handler=culprit.name,
            delivery=culprit.job and culprit.job.delivery,
            blocked_seconds=block.seconds,
            mend="await what takes long, or write the handler as a plain def: those run in threads",
            stack=culprit.stack,
        )

    def _leave(self, block: _Block) -> None:
        """The worker was asked to stop: hand back everything, for nobody is to blame for that."""
        logger.warning("worker.stopped_blocked", handler=block.culprit.name, handed_back=self._hand_back(self._held()))
        self._end(0)

    def _give_up(self, block: _Block) -> None:
        """A crash, of which only the culprit is guilty. Where it is not known, everything in hand is suspected."""
        job = block.culprit.job
        innocent = [claim for claim in self._held() if claim.job_id != job.id] if job else []
        logger.error(
            "loop.blocked_for_ever",
            handler=block.culprit.name,
            delivery=job and job.delivery,
            blocked_seconds=block.seconds,
            handed_back=self._hand_back(innocent),
            what_happens="this worker ends with exit code 1; the event counts as having crashed it",
            stack=block.culprit.stack,
        )
        self._end(1)

    def _hand_back(self, claims: Sequence[Claimed]) -> int:
        if not claims:
            return 0
        try:
            with connect_blocking(self._redis_url) as server:
                self._once.release_blocking(server)
                return queue.release_blocking(server, claims)
        except OUTAGES:
            return 0  # they run again when their leases lapse


def culprit_of(frame: FrameType | None) -> Culprit:
    """Find the handler that a thread runs at this moment, from its innermost frame outwards."""
    stack = traceback.extract_stack(frame) if frame else []
    handler: Handler | None = None
    job: Job | None = None
    debugged, inner_frames = False, 0
    while frame is not None and job is None:
        module = frame.f_globals.get("__name__", "")
        debugged = debugged or module.partition(".")[0] in _DEBUGGERS
        if module == dispatcher.__name__:
            values = frame.f_locals
            handler = handler or _of_type(Handler, values.get("handler"))
            job = _of_type(Job, values.get("job")) if handler else None
        elif handler is None:
            inner_frames += 1
        frame = frame.f_back
    shown = stack[-inner_frames:] if handler else stack
    return Culprit(handler, job, "".join(traceback.format_list(shown)), debugged)


def _of_type(kind: type[T], value: object) -> T | None:
    return value if isinstance(value, kind) else None


def end_process(exit_code: int) -> NoReturn:
    """End the process at once, waiting for nobody; what was written to stdout and stderr still comes out."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(exit_code)
