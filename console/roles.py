"""The two roles of the service, receiver and worker, as a process runs them: built from settings, stopped by signals.

Called by the commands `receiver` and `worker`; `serve` and `demo` start those as processes of their own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial

import structlog

from broker.admission import GroupCommit
from broker.connection import Server, close, connect
from broker.records import Job
from console.admin import admin_listener
from console.endpoints import ONE_AND_ONLY, load_endpoints
from console.limits import allow_connections
from console.listening import listening
from console.preflight import CheckedWrite, Preflight
from console.settings import HOW_TO_MAKE_ONE, Settings
from console.variables import export_env_file
from handlers.loader import LoadedHandlers, load
from handlers.registry import Handler
from receiver.failover import FailoverWriter
from receiver.gate import Gate
from receiver.listener import PublicListener
from receiver.spool import Spool
from worker.dispatch import Dispatcher
from worker.once import OnceBlocks, OnceGate
from worker.surroundings import KonvoxAccess, surroundings
from worker.worker import HookWorker, WorkerConfig

PARENT_CHECK_SECONDS = 1.0
"""How often a child process looks whether its parent is still there."""

FALLBACK_HANDLERS = ("handlers.log",)
"""What runs where no handler is configured: the events are at least seen."""

SPOOL = "spool"
"""The folder in KONVOX_DATA_DIR that takes events while Redis is away."""

GARBAGE_AFTER_ALLOCATIONS = 10_000
"""So many more allocated than freed containers start a search for garbage; Python's default is 700."""

logger = structlog.get_logger("console")


async def run_receiver(
    settings: Settings, redis_url: str, *, parent_pid: int | None = None, share_port: bool = False
) -> None:
    """Take events in until SIGTERM or SIGINT; then answer what is under way, and end. A second signal ends it at once.

    Redis need not be there: events are spooled until it is, and it has been found safe.

    Args:
        settings: the configuration.
        redis_url: where events are kept.
        parent_pid: the parent process, if we are to stop when it is gone.
        share_port: whether other receivers of this user listen on the same port.

    Raises:
        UnsafeServerError: Redis is there at the start, and would lose events.
    """
    stop = asyncio.Event()
    server = connect(redis_url)
    try:
        with_signals(_gently_then_at_once(stop))
        async with bound_to_parent(stop.set, parent_pid):
            endpoints = load_endpoints(settings)
            for name, endpoint in endpoints.items():
                if endpoint.weak_tokens():
                    logger.warning("hook_tokens.weak", endpoint=name, mend=HOW_TO_MAKE_ONE)
            write = CheckedWrite(server, settings)
            async with (
                Spool(settings.data_dir / SPOOL, max_bytes=settings.spool_max_bytes) as spool,
                FailoverWriter(write, spool) as failover,
            ):
                await failover.look()
                if write.fault is not None:
                    raise write.fault
                gates = [gate_of(endpoint, name) for name, endpoint in endpoints.items()]
                await _receive(settings, server, gates, failover, stop, share_port=share_port)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        # Whoever had no answer yet sends again: without a 200 nothing was promised.
        logger.warning("receiver.stopped_at_once")
    finally:
        await close(server)


async def _receive(
    settings: Settings,
    server: Server,
    gates: Sequence[Gate],
    failover: FailoverWriter,
    stop: asyncio.Event,
    *,
    share_port: bool,
) -> None:
    admission = GroupCommit(failover.write, overflow=failover.spool)
    public = PublicListener(
        gates,
        admission,
        stop_seconds=settings.stop_seconds,
        most_connections=allow_connections(),
        share_port=share_port,
    )
    tally = public.tally

    def readings() -> dict[str, float]:
        return {
            **asdict(tally),
            "spooled_events": failover.spooled_events,
            "spooled_bytes": failover.spooled_bytes,
            "refusing": int(not failover.ready),
        }

    async def ready() -> bool:
        if failover.state == "direct":
            await failover.look()  # where no event comes, nobody else finds out that Redis answers and takes none
        # Red as soon as the spool is needed: somebody should look. What decides about traffic is the public `/healthz`.
        return failover.state != "spooling" and not stop.is_set()

    admin = admin_listener("receiver", server, ready=ready, readings=readings)
    async with (
        listening(admin, settings.admin_host, settings.admin_port, name="receiver.admin"),
        listening(public, settings.host, settings.port, name="receiver"),
    ):
        rarely_collect_garbage()
        await stop.wait()
        logger.info("receiver.stopping")
    await admission.drain()
    logger.info("receiver.stopped", **asdict(tally))


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
        burst=burst,
    )
    server = connect(redis_url)
    worker: HookWorker | None = None

    def seconds_left() -> float:
        return worker.stop_seconds_left if worker else settings.stop_seconds

    try:
        once = OnceBlocks(config.lease_ms)
        done_ms = settings.log_retention_seconds * 1000

        def once_gate(job: Job, handler: Handler) -> OnceGate:
            return OnceGate(server, once, job.record.id, handler.name, done_ms=done_ms)

        access = konvox_access(settings)
        async with surroundings(loaded, access, once_gate, seconds_left=seconds_left) as make_context:
            dispatcher = Dispatcher(loaded.registry, make_context)
            worker = HookWorker(server, dispatcher, config, once=once)
            readings = partial(_readings, worker, dispatcher)
            checked = asyncio.Event()

            async def ready() -> bool:
                return checked.is_set() and worker.ready

            admin = admin_listener("worker", server, ready=ready, readings=readings)
            async with (
                listening(admin, settings.admin_host, settings.admin_port, name="worker.admin"),
                bound_to_parent(worker.stop, parent_pid),
            ):
                # While it waits, health answers, and readiness is red.
                await Preflight(server, settings).wait(lambda: worker.stopping)
                checked.set()
                await worker.async_run()
                await worker.close()
    finally:
        await close(server)


def rarely_collect_garbage() -> None:
    """Leave out of the search for garbage what stays for ever, and search after more allocations than by default.

    Each event makes some hundred objects that die by themselves; looking through all of them that often finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER_ALLOCATIONS)


def load_handlers(settings: Settings) -> LoadedHandlers:
    """The handlers that are configured and installed, or the bundled log where there are none.

    What else stands in `.env` (a handler's own secrets, such as SLACK_WEBHOOK_URL) reaches them in the environment.
    """
    export_env_file()
    loaded = load(settings.handlers)
    if len(loaded.registry) == 0:
        logger.warning("handlers.none", what_happens="events are only logged", mend="set KONVOX_HANDLERS")
        return load(FALLBACK_HANDLERS, entry_points=False)
    return loaded


def gate_of(settings: Settings, endpoint: str = ONE_AND_ONLY) -> Gate:
    """What the settings of an endpoint ask of a request."""
    return Gate(
        endpoint=endpoint,
        needs_token=settings.require_token,
        tokens=[token.get_secret_value() for token in settings.hook_tokens],
        scheme=settings.signature,
        signature_header=settings.signature_header,
        signing_secrets=[secret.get_secret_value() for secret in settings.signing_secrets],
        company_ids=frozenset(settings.company_ids),
        max_body_bytes=settings.max_body_bytes,
    )


def konvox_access(settings: Settings) -> dict[str, KonvoxAccess]:
    """Where handlers reach the Konvox API, by the endpoint that their event came in by."""
    return {name: _access(endpoint) for name, endpoint in load_endpoints(settings).items()}


def _access(settings: Settings) -> KonvoxAccess:
    return KonvoxAccess(
        settings.api_url,
        settings.api_key.get_secret_value() if settings.api_key else None,
        auth=settings.api_auth,
        paths=settings.konvox_paths(),
        secret_fields=settings.konvox_secret_fields(),
    )


def _gently_then_at_once(stop: asyncio.Event) -> Callable[[], None]:
    """Makes a function: its first call ends the current task gently, its second cancels it, further ones do nothing."""
    task, cancelled = asyncio.current_task(), False

    def on_signal() -> None:
        nonlocal cancelled
        if stop.is_set() and task is not None and not cancelled:
            cancelled = task.cancel()
        stop.set()

    return on_signal


def with_signals(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM and on SIGINT."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)


def _readings(worker: HookWorker, dispatcher: Dispatcher) -> dict[str, float]:
    return {
        "in_flight": worker.in_flight,
        "handled": worker.jobs_complete,
        "retried": worker.jobs_retried,
        "dead": worker.jobs_failed,
        "loop_blocks": worker.watchdog.blocks,
        "loop_blocked_seconds": worker.watchdog.blocked_seconds,
        "tasks_left_behind": worker.tasks_left_behind,
        "threads_left_behind": dispatcher.threads.left_behind,
        "threads_going_on": dispatcher.threads.going_on,
    }


@asynccontextmanager
async def bound_to_parent(stop: Callable[[], object], parent_pid: int | None) -> AsyncIterator[None]:
    """Stop when the parent process is gone, however it went: a child must not outlive its supervisor.

    The parent is told to us, rather than looked up: it may be gone before we get here. None: there is none to watch.
    """

    async def watch() -> None:
        while True:
            if os.getppid() != parent_pid:
                stop()
                return
            await asyncio.sleep(PARENT_CHECK_SECONDS)

    watcher = asyncio.create_task(watch()) if parent_pid is not None else None
    try:
        yield
    finally:
        if watcher is not None:
            watcher.cancel()
