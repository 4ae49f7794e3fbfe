"""`konvox-hooks dev`: run everything on a laptop, and reload handlers when they change."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import click
import structlog

from konvox.sandbox import SandboxConfig
from konvox.sandbox.scenarios import SCENARIOS
from konvox_hooks.config.accounts import settings_of_account
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.own_origin import own_origin
from konvox_hooks.config.settings import Settings, example_of, variable_of
from konvox_hooks.demo.dev_sandbox import dev_sandbox_config, generate_traffic, sandbox_running
from konvox_hooks.errors import UsageError
from konvox_hooks.history.open_store import redis_or_embedded
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.process.signals import on_stop_signal
from konvox_hooks.registration.plan import hook_url
from konvox_hooks.service.reloader import ReloadedWorker
from konvox_hooks.service.supervisor import Child, Supervisor
from konvox_hooks.terminal.formatting import example

logger = structlog.get_logger("konvox_hooks")


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Events from a sandbox to the receiver.

    Attributes:
        config: of the sandbox.
        receiver: the receiver's origin.
        hook_url: where the sandbox delivers events.
    """

    config: SandboxConfig
    receiver: str
    hook_url: str


@click.command(epilog=example("dev", "dev --sandbox --scenario chaos --rate 5"))
@click.option("--sandbox", is_flag=True, help="Run a sandbox too, whose contacts are enrolled, reply and opt out.")
@click.option(
    "--scenario",
    type=click.Choice(list(SCENARIOS)),
    default="steady",
    show_default=True,
    help="How these events come.",
)
@click.option(
    "--rate",
    metavar="EVENTS_PER_SECOND",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="The average number of enrollments, and of replies and opt-outs.",
)
def command(*, sandbox: bool, scenario: str, rate: float) -> None:
    """Run receiver and worker as `serve` does, and reload the handlers when one of their files changes.

    A reload loses no event: events that come meanwhile wait. If a file cannot be loaded, the log says why, and the
    worker starts again once it is fixed. Settings are read at the start only. With --sandbox, ctx.konvox calls the
    sandbox.
    """
    settings = load_settings()
    settings.require_authentication()
    log_format = "console" if settings.log_format == "auto" else settings.log_format
    configure_logging(settings.log_level, log_format)
    traffic = _traffic(settings, scenario, rate) if sandbox else None
    asyncio.run(_run(settings, {"KONVOX_LOG_FORMAT": log_format}, traffic))


def _traffic(settings: Settings, scenario: str, rate: float) -> _Traffic:
    account = settings_of_account(settings, None)
    receiver = own_origin(settings)
    token = account.hook_tokens[0].get_secret_value() if account.hook_tokens else None
    try:
        url = hook_url(receiver, token)
    except ValueError:
        raise UsageError(
            f"{variable_of('host')}: the sandbox delivers to this machine only (example: {example_of('host')})"
        ) from None
    return _Traffic(dev_sandbox_config(account, scenario=scenario, rate=rate), receiver, url)


async def _run(settings: Settings, environment: dict[str, str], traffic: _Traffic | None) -> None:
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(redis_or_embedded(settings))
        environment |= {} if settings.redis_url else {"KONVOX_REDIS_URL": redis_url}
        if traffic is not None:
            sandbox_url = await stack.enter_async_context(sandbox_running(traffic.config))
            environment |= {"KONVOX_API_URL": sandbox_url, "KONVOX_API_KEY": traffic.config.full_key}
            task = asyncio.create_task(
                generate_traffic(traffic.config, sandbox_url, receiver=traffic.receiver, hook_url=traffic.hook_url)
            )
            task.add_done_callback(_log_failure)
            stack.callback(task.cancel)
        await _serve(settings, environment)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("sandbox.traffic_failed", error=f"{type(error).__name__}: {error}")


async def _serve(settings: Settings, environment: dict[str, str]) -> None:
    receiver = Child("receiver", ["receiver"], environment)
    # The worker's admin listener takes a free port, because the receiver's has the configured one.
    child = Child("worker", ["worker", "--full-tracebacks"], {**environment, "KONVOX_ADMIN_PORT": "0"})
    worker = ReloadedWorker(child, settings.handlers)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            await Supervisor([receiver]).run()
        finally:
            on_stop_signal(worker.stop)  # a second signal is for the worker
            worker.stop()
