"""The life of a worker, from its settings to its last settlement. Run by the command `worker`.

It loads the handlers, enters their lifespans, waits until the store is there and safe, and then claims jobs. What
happens on SIGTERM is told in `worker.worker`.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from broker.records import Job
from broker.redis.client import close, connect
from broker.safe_admission import Preflight
from handlers.loader import LoadedHandlers, load
from handlers.registry import Handler
from konvox_hooks.config.accounts import load_accounts
from konvox_hooks.config.network import listening_hosts
from konvox_hooks.config.settings import Settings
from konvox_hooks.config.sources import export_env_file
from konvox_hooks.service.admin import admin_listener
from konvox_hooks.service.listeners import listening
from konvox_hooks.service.process import bound_to_parent, rarely_collect_garbage
from worker.config import WorkerConfig
from worker.running.context import KonvoxAccess, handler_contexts
from worker.running.dispatcher import Dispatcher
from worker.running.once import OnceBlocks, OnceGate
from worker.worker import HookWorker

FALLBACK_HANDLERS = ("handlers.log",)
"""What runs where no handler is configured: the events are at least seen."""

logger = structlog.get_logger("konvox_hooks")


async def run_worker(settings: Settings, redis_url: str, *, burst: bool = False, parent_pid: int | None = None) -> None:
    """Run handlers until SIGTERM or SIGINT, or in burst mode until the queue is empty.

    Args:
        settings: the configuration.
        redis_url: where events are kept.
        burst: whether to end once the queue is empty.
        parent_pid: the parent process, if we are to stop when it is gone.

    Raises:
        HandlerError: a handler module cannot be loaded.
        UnsafeServerError: Redis would lose events.
    """
    loaded = load_handlers(settings)
    rarely_collect_garbage()
    config = WorkerConfig(
        redis_url,
        concurrency=settings.concurrency,
        lease_seconds=settings.lease_seconds,
        stop_seconds=settings.stop_seconds,
        retention_seconds=settings.log_retention_seconds,
        once_ttl_seconds=settings.log_retention_seconds,
        burst=burst,
    )
    server = connect(redis_url)
    worker: HookWorker | None = None

    def seconds_left() -> float:
        return worker.stop_seconds_left if worker else settings.stop_seconds

    try:
        once = OnceBlocks(config.lease_ms)
        ttl_ms = config.once_ttl_seconds * 1000

        def once_gate(job: Job, handler: Handler) -> OnceGate:
            return OnceGate(server, once, job.record.id, handler.name, ttl_ms=ttl_ms)

        access = konvox_access(settings)
        async with handler_contexts(loaded, access, once_gate, seconds_left=seconds_left) as make_context:
            dispatcher = Dispatcher(loaded.registry, make_context)
            worker = HookWorker(server, dispatcher, config, once=once)
            readings = partial(_readings, worker, dispatcher)
            checked = asyncio.Event()

            async def ready() -> bool:
                return checked.is_set() and worker.ready

            admin = admin_listener("worker", server, ready=ready, readings=readings, names=settings.admin_hosts)
            async with (
                listening(admin, listening_hosts(settings.admin_host), settings.admin_port, name="worker.admin"),
                bound_to_parent(worker.stop, parent_pid),
            ):
                # While it waits, health answers, and readiness is red.
                preflight = Preflight(server, settings.durability, allow_eviction=settings.allow_eviction)
                await preflight.wait(lambda: worker.stopping)
                checked.set()
                await worker.async_run()
                await worker.close()
    finally:
        await close(server)


def load_handlers(settings: Settings) -> LoadedHandlers:
    """The handlers that are configured and installed, or the bundled log where there are none.

    What else stands in `.env` (a handler's own secrets, such as SLACK_WEBHOOK_URL) reaches them in the environment.
    """
    export_env_file()
    loaded = load(settings.handlers)
    if len(loaded.registry) == 0:
        logger.warning("handlers.not_configured", what_happens="events are only logged", hint="set KONVOX_HANDLERS")
        return load(FALLBACK_HANDLERS, entry_points=False)
    return loaded


def konvox_access(settings: Settings) -> dict[str, KonvoxAccess]:
    """Where handlers reach the Konvox API, by the account that their event came in by."""
    return {name: _access(account) for name, account in load_accounts(settings).items()}


def _access(settings: Settings) -> KonvoxAccess:
    return KonvoxAccess(
        settings.api_url,
        settings.api_key.get_secret_value() if settings.api_key else None,
        auth=settings.api_auth,
        paths=settings.konvox_paths(),
        secret_fields=settings.konvox_secret_fields(),
    )


def _readings(worker: HookWorker, dispatcher: Dispatcher) -> dict[str, float]:
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
