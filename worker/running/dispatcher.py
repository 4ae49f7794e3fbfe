"""Run the handlers of one event at the same time, and say how each of them ended.

Called by the worker for every job, and by local replay; no Redis in here. A handler may raise anything, exit, hang or
cancel itself: only its own `HandlerRun` tells of it.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import structlog

from broker.records import Job
from handlers import Context
from handlers.registry import Handler, Registry
from handlers.stubs import handler_stub
from konvox.events import Event, plain_event, typed_event
from worker.errors import NeverAwaitedError
from worker.running.effects import Effects, effects_of
from worker.running.failures import failed_run
from worker.running.run_context import PRESENT_RUN, PresentRun
from worker.running.threads import Threads
from worker.running.timeouts import LimitedRun, Run, TimeLimit
from worker.running.unawaited import report_unawaited_coroutines
from worker.running.verdicts import AttemptPolicy, HandlerRun

ContextFactory = Callable[[Job, Handler], Context]
"""Makes the `Context` that a handler is called with."""

logger = structlog.get_logger("worker")


class Dispatcher:
    """Finds the handlers of an event and runs them.

    Attributes:
        threads: runs the plain ones; counts those that overran their time limit.
    """

    def __init__(self, registry: Registry, make_context: ContextFactory) -> None:
        report_unawaited_coroutines()
        self.threads = Threads()
        self._registry = registry
        self._make_context = make_context
        self._hinted_types: set[str] = set()
        self._limits: dict[float, TimeLimit] = {}
        self._several: dict[str, list[asyncio.Task[HandlerRun]]] = {}
        self._deciding: Run | None = None

    @property
    def longest_run_seconds(self) -> float:
        """The longest time limit that any handler has."""
        return max((handler.timeout_seconds for handler in self._registry), default=0.0)

    async def dispatch(self, job: Job) -> list[HandlerRun]:
        """Run the handlers of a job: all that match its event, or the one that it names.

        Raises:
            asyncio.CancelledError: the worker is stopping. No fault of a handler is raised.
        """
        views = _Views(job)
        if job.handler is not None:
            named = self._registry.get(job.heir or job.handler)
            run = await self._run(named, views, job) if named else _not_loaded(job.heir or job.handler)
            # Under another name since then, or in another's place: what is kept of the job is kept under its own.
            return [run._replace(handler=job.handler)]
        matching = self._registry.matching(job.record.type)
        if len(matching) == 1:
            return [await self._run(matching[0], views, job)]  # no task of its own: this is the hot path
        if not matching:
            self._hint(job.record.type)
        tasks = [asyncio.create_task(self._run(handler, views, job), name=handler.name) for handler in matching]
        self._several[job.id] = tasks
        try:
            return await asyncio.gather(*tasks)
        finally:
            del self._several[job.id]

    def time_limit_seconds(self, job: Job) -> float:
        """The longest time limit of the handlers of a job."""
        named = self._named_by(job)
        handlers = [named] if named else self._registry.matching(job.record.type)
        return max((handler.timeout_seconds for handler in handlers), default=0.0)

    def run_in(self, task: asyncio.Task[Any]) -> Run | None:
        """What runs in the loop's current task; for the watchdog's thread. None if no handler of ours does."""
        found = (limit.run_in(task) for limit in list(self._limits.values()))  # copied in one step
        return self._deciding or next(filter(None, found), None)

    def abandoned_runs(self, job: Job) -> list[HandlerRun]:
        """How the handlers of a job ended that is to be abandoned: those that still run have failed."""
        tasks = self._several.get(job.id)
        if tasks is None:
            named = self._named_by(job)
            (handler,) = [named] if named else self._registry.matching(job.record.type)
            return [self._never_ended(handler.name)._replace(handler=job.handler or handler.name)]
        return [task.result() if task.done() else self._never_ended(task.get_name()) for task in tasks]

    def _named_by(self, job: Job) -> Handler | None:
        name = job.heir or job.handler
        return self._registry.get(name) if name else None

    def _never_ended(self, name: str) -> HandlerRun:
        handler = self._registry.get(name)
        policy = _policy(handler) if handler else AttemptPolicy()
        error = "TimeoutError: the handler swallows its cancellation at its time limit; it was abandoned"
        return HandlerRun(name, "failed", error=error, policy=policy)

    def _hint(self, event_type: str) -> None:
        if event_type not in self._hinted_types:
            self._hinted_types.add(event_type)
            logger.info("event.unhandled", event_type=event_type, handler_to_paste=handler_stub(event_type))

    async def _run(self, handler: Handler, views: _Views, job: Job) -> HandlerRun:
        started = time.perf_counter()
        limit = self._limits.get(handler.timeout_seconds) or self._new_limit(handler.timeout_seconds)
        what = handler, job
        PRESENT_RUN.set(PresentRun(handler.name, job.delivery, job.record.id, job.record.type))
        run = LimitedRun(limit, what)
        context: Context | None = None
        try:
            event = views.plain() if handler.takes_plain_event else views.typed()
            if handler.when is not None and not self._asks(handler.when, event, what):
                return HandlerRun(handler.name, "skipped")
            context = self._make_context(job, handler)
            with run:
                if handler.is_async:
                    await handler.function(event, context)
                else:
                    await _call_plain(self.threads, handler, event, context)
                effects = effects_of(context)
                if effects is not None:
                    await _end(effects)
        except BaseException as error:
            effects = effects_of(context) if context else None
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                if effects is not None:
                    effects.close()
                raise
            ended_by = _too_slow(handler, error) if run.expired and isinstance(error, TimeoutError) else error
            failed = failed_run(handler.name, ended_by, (time.perf_counter() - started) * 1000, _policy(handler))
            return failed if effects is None else await _with_never_awaited(failed, effects)
        finally:
            PRESENT_RUN.set(None)
        return HandlerRun(handler.name, "done", (time.perf_counter() - started) * 1000)

    def _asks(self, when: Callable[[Event], bool], event: Event, what: Run) -> bool:
        """Ask a handler's `when`. That is users' code as well, and may block the loop."""
        self._deciding = what
        try:
            return bool(when(event))
        finally:
            self._deciding = None

    def _new_limit(self, seconds: float) -> TimeLimit:
        limit = self._limits[seconds] = TimeLimit(seconds)
        return limit


async def _call_plain(threads: Threads, handler: Handler, event: Event, context: Context) -> None:
    result = await threads.run(handler.name, handler.function, event, context)
    if inspect.isawaitable(result):
        await result  # a plain wrapper around an async function: unawaited, its work would be lost


async def _end(effects: Effects) -> None:
    """After a handler that raised nothing.

    Raises:
        NeverAwaitedError: it left a call that nobody has awaited, and so something did not happen.
    """
    never_awaited = await effects.never_awaited()
    if never_awaited:
        raise NeverAwaitedError(never_awaited)
    effects.close()


async def _with_never_awaited(run: HandlerRun, effects: Effects) -> HandlerRun:
    """How a run ended that raised something, with the calls that it left: those make a failure of a `Drop` too."""
    never_awaited = await effects.never_awaited()
    effects.close()
    if not never_awaited or never_awaited in run.error:
        return run
    ended = "failed" if run.ended == "dropped" else run.ended
    return run._replace(ended=ended, error=f"{run.error}; {never_awaited}".removeprefix("; "))


def _too_slow(handler: Handler, error: TimeoutError) -> TimeoutError:
    note = "" if handler.is_async else "; it still runs in its thread, which cannot be stopped"
    too_slow = TimeoutError(f"the handler took longer than its {handler.timeout_seconds:g} s{note}")
    too_slow.__cause__ = error.__cause__  # its traceback shows what the handler was waiting for
    return too_slow


class _Views:
    """The event as a model and as a plain one, each made when the first handler needs it."""

    __slots__ = ("_job", "_plain", "_typed")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._typed: Event | None = None
        self._plain: Event | None = None

    def typed(self) -> Event:
        if self._typed is None:
            record, replayed = self._job.record, self._job.replayed
            self._typed = typed_event(
                record.type, event_id=record.id, raw=record.raw, replayed=replayed, account=record.account
            )
        return self._typed

    def plain(self) -> Event:
        if self._plain is None:
            record, replayed = self._job.record, self._job.replayed
            self._plain = plain_event(event_id=record.id, raw=record.raw, replayed=replayed, account=record.account)
        return self._plain


def _policy(handler: Handler) -> AttemptPolicy:
    return AttemptPolicy(
        handler.attempts, handler.backoff_base_seconds, handler.backoff_cap_seconds, handler.retry_for_seconds
    )


def _not_loaded(name: str) -> HandlerRun:
    hint = f'was it renamed while this event waited? Then write was="{name}" in its @on'
    return HandlerRun(name, "failed", error=f"no handler {name} is loaded; {hint}")


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
