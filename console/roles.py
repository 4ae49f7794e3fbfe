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

import structlog

from broker.admission import GroupCommit, to_redis
from broker.connection import OUTAGES, Server, close, connect
from broker.durability import BY_REPLY, Confirmation, confirmation_for, refuse_eviction
from broker.records import Job
from console.admin import admin_runner, serving
from console.endpoints import ONE_AND_ONLY, load_endpoints
from console.settings import HOW_TO_MAKE_ONE, Settings
from console.store import admission_policy
from console.variables import export_env_file
from handlers.loader import LoadedHandlers, load
from handlers.registry import Handler
from receiver.app import TALLY, create_app, create_runner
from receiver.gate import Gate
from receiver.intake import Intake
from receiver.spool import SpoolFolder
from worker.dispatch import Dispatcher
from worker.once import OnceGate
from worker.outage import Outage
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


async def run_receiver(settings: Settings, redis_url: str, *, with_parent: bool = False) -> None:
    """Take events in until SIGTERM or SIGINT; then answer what is under way, and end.

    Args:
        settings: the configuration.
        redis_url: where events are kept.
        with_parent: whether to stop when the parent process is gone.
    """
    stop = asyncio.Event()
    server = connect(redis_url)
    try:
        with_signals(stop.set)
        async with _bound_to_parent(stop.set, enabled=with_parent):
            endpoints = load_endpoints(settings)
            for name, endpoint in endpoints.items():
                if endpoint.weak_tokens():
                    logger.warning("hook_tokens.weak", endpoint=name, mend=HOW_TO_MAKE_ONE)
            confirmation = await _preflight(server, settings, stop)
            write = to_redis(server, admission_policy(settings, confirmation))
            async with (
                SpoolFolder(settings.data_dir / SPOOL, max_bytes=settings.spool_max_bytes) as spool,
                Intake(write, spool) as intake,
            ):
                gates = [gate_of(endpoint, name) for name, endpoint in endpoints.items()]
                await _receive(settings, server, gates, intake, stop)
    finally:
        await close(server)


async def _receive(
    settings: Settings, server: Server, gates: Sequence[Gate], intake: Intake, stop: asyncio.Event
) -> None:
    admission = GroupCommit(intake.write)
    app = create_app(gates, admission)
    tally = app[TALLY]

    def readings() -> dict[str, float]:
        return {
            **asdict(tally),
            "spooled_events": intake.spooled_events,
            "spooled_bytes": intake.spooled_bytes,
        }

    admin = admin_runner("receiver", server, ready=lambda: intake.ready and not stop.is_set(), readings=readings)
    public = create_runner(app, stop_seconds=settings.stop_seconds)
    async with (
        serving(admin, settings.admin_host, settings.admin_port, name="receiver.admin"),
        serving(public, settings.host, settings.port, name="receiver"),
    ):
        await stop.wait()
        logger.info("receiver.stopping")
    await admission.drain()
    logger.info("receiver.stopped", **asdict(tally))


async def run_worker(settings: Settings, redis_url: str, *, burst: bool = False, with_parent: bool = False) -> None:
    """Run handlers until SIGTERM or SIGINT, or in burst mode until the queue is empty.

    Raises:
        HandlerError: a handler module cannot be loaded.
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
    stop = asyncio.Event()
    server = connect(redis_url)
    try:
        with_signals(stop.set)
        await _preflight(server, settings, stop)

        def once_gate(job: Job, handler: Handler) -> OnceGate:
            running_ms = round(handler.timeout_seconds * 1000) + config.lease_ms
            return OnceGate(
                server,
                job.record.id,
                handler.name,
                running_ms=running_ms,
                done_ms=settings.log_retention_seconds * 1000,
            )

        async with surroundings(loaded, konvox_access(settings), once_gate) as make_context:
            worker = HookWorker(server, Dispatcher(loaded.registry, make_context), config)
            if stop.is_set():
                worker.stop()
            admin = admin_runner("worker", server, ready=lambda: worker.ready, readings=lambda: _readings(worker))
            async with (
                serving(admin, settings.admin_host, settings.admin_port, name="worker.admin"),
                _bound_to_parent(worker.stop, enabled=with_parent),
            ):
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


def with_signals(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM and on SIGINT."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)


async def _preflight(server: Server, settings: Settings, stop: asyncio.Event) -> Confirmation:
    """Wait for Redis, and make sure that it keeps what it is given.

    Raises:
        UnsafeServerError: it does not.
    """
    if settings.durability == "memory":
        logger.warning("durability.memory", risk="a crash of Redis loses events that were answered with 200")
    outage = Outage()
    while not stop.is_set():
        try:
            await refuse_eviction(server)
            confirmation = await confirmation_for(server, settings.durability)
        except OUTAGES as error:
            await outage.wait(error)
        else:
            outage.over()
            return confirmation
    return BY_REPLY


def _readings(worker: HookWorker) -> dict[str, float]:
    return {
        "in_flight": worker.in_flight,
        "handled": worker.jobs_complete,
        "retried": worker.jobs_retried,
        "dead": worker.jobs_failed,
    }


@asynccontextmanager
async def _bound_to_parent(stop: Callable[[], object], *, enabled: bool) -> AsyncIterator[None]:
    """Stop when the parent process is gone, however it went: a child must not outlive `serve` or the demo."""
    parent = os.getppid()

    async def watch() -> None:
        while True:
            await asyncio.sleep(PARENT_CHECK_SECONDS)
            if os.getppid() != parent:
                stop()
                return

    watcher = asyncio.create_task(watch()) if enabled else None
    try:
        yield
    finally:
        if watcher is not None:
            watcher.cancel()
