"""The life of a worker, from its settings to its last settlement. Run by `konvox-hooks worker`.

- Start: load the handlers, enter their lifespans, open the admin listener, wait until Redis answers and is safe, then
  claim jobs.
- The first SIGTERM or SIGINT: claim nothing more, and let handlers finish for KONVOX_STOP_SECONDS. The second: do not
  wait for them. Then release the jobs that still run, leave the lifespans, end. `worker.worker` does this.
- A handler or thread that does not end: `forced_exit` ends the process, with the same exit code.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import structlog

from broker.records import Job
from broker.redis.client import close, connect
from broker.redis.commands import Server
from handlers.registry import Handler
from konvox_hooks.config.handlers import konvox_access, load_handlers
from konvox_hooks.config.network import listening_hosts
from konvox_hooks.config.settings import Settings
from konvox_hooks.history.open_store import preflight_of
from konvox_hooks.process.signals import bound_to_parent
from konvox_hooks.service.admin import admin_listener
from konvox_hooks.service.garbage import tune_garbage_collection
from konvox_hooks.service.listeners import listening
from worker.config import WorkerConfig
from worker.running.context import handler_contexts
from worker.running.dispatcher import Dispatcher
from worker.running.once import OnceBlocks, OnceGate
from worker.worker import HookWorker

logger = structlog.get_logger("konvox_hooks")


async def run_worker(
    settings: Settings,
    redis_url: str,
    *,
    burst: bool = False,
    parent_pid: int | None = None,
    full_tracebacks: bool = False,
) -> None:
    """Run handlers until SIGTERM or SIGINT, or in burst mode until the queue is empty.

    Args:
        settings: the configuration.
        redis_url: where events are kept.
        burst: whether to end once the queue is empty.
        parent_pid: stop when the parent is no longer this process; None: there is no parent to watch.
        full_tracebacks: whether the log shows the frames of the worker too, where a handler failed.

    Raises:
        HandlerError: a module of handlers cannot be loaded.
        UnsafeServerError: Redis would lose events.
        UsageError: an account is wrong, or the admin listener's address cannot be listened on.
    """
    loaded = load_handlers(settings)
    tune_garbage_collection()
    config = replace(_worker_config(settings, redis_url, burst=burst), full_tracebacks=full_tracebacks)
    server = connect(redis_url, namespace=settings.namespace)
    worker: HookWorker | None = None

    def seconds_left() -> float:
        return worker.stop_seconds_left if worker else settings.stop_seconds

    try:
        once = OnceBlocks(config.lease_ms)
        ttl_ms = config.once_ttl_seconds * 1000

        def once_gate(job: Job, handler: Handler) -> OnceGate:
            return OnceGate(server, once, job.record.id, handler.name, ttl_ms=ttl_ms, was=handler.was)

        access = konvox_access(settings)
        async with handler_contexts(loaded, access, once_gate, seconds_left=seconds_left) as make_context:
            dispatcher = Dispatcher(loaded.registry, make_context)
            worker = HookWorker(server, dispatcher, config, once=once)
            await _serve(settings, server, worker, dispatcher, parent_pid)
    finally:
        await close(server)


async def _serve(
    settings: Settings, server: Server, worker: HookWorker, dispatcher: Dispatcher, parent_pid: int | None
) -> None:
    """Run the worker, with its admin listener, until it has stopped."""
    checked = asyncio.Event()

    async def ready() -> bool:
        return checked.is_set() and worker.ready

    readings = partial(_readings, worker, dispatcher)
    admin = admin_listener("worker", server, ready=ready, readings=readings, names=settings.admin_hosts)
    async with (
        listening(admin, listening_hosts(settings.admin_host), settings.admin_port, name="worker.admin"),
        bound_to_parent(worker.stop, parent_pid),
    ):
        # While this waits for a safe Redis, the worker is healthy and not ready.
        preflight = preflight_of(settings, worker.config.redis_url, server)
        await preflight.wait(lambda: worker.stopping)
        checked.set()
        await worker.async_run()
        await worker.close()


def _worker_config(settings: Settings, redis_url: str, *, burst: bool) -> WorkerConfig:
    return WorkerConfig(
        redis_url,
        settings.namespace,
        concurrency=settings.concurrency,
        lease_seconds=settings.lease_seconds,
        stop_seconds=settings.stop_seconds,
        retention_seconds=settings.log_retention_seconds,
        once_ttl_seconds=settings.log_retention_seconds,
        burst=burst,
    )


def _readings(worker: HookWorker, dispatcher: Dispatcher) -> dict[str, float]:
    """The worker's own counts, for the admin listener."""
    return {
        "worker_jobs_in_flight": worker.in_flight,
        "worker_jobs_completed_total": worker.jobs_complete,
        "worker_retries_total": worker.jobs_retried,
        "worker_dead_letters_total": worker.jobs_failed,
        "worker_loop_blocks_total": worker.watchdog.blocks,
        "worker_loop_blocked_seconds_total": worker.watchdog.blocked_seconds,
        "worker_handlers_abandoned_total": worker.handlers_abandoned,
        "worker_threads_abandoned_total": dispatcher.threads.abandoned,
        "worker_threads_still_running": dispatcher.threads.still_running,
    }
