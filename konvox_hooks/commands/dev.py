"""`konvox-hooks dev`: everything on a laptop, with handlers that are loaded anew when they change."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import click
import structlog

from konvox.sandbox import SandboxConfig
from konvox.sandbox.scenarios import SCENARIOS
from konvox_hooks.commands.trigger import own_origin
from konvox_hooks.config.accounts import settings_of_account
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings, example_of, variable_of
from konvox_hooks.demo.dev_sandbox import generate_traffic, rehearsal_config, sandbox_running
from konvox_hooks.errors import UsageError
from konvox_hooks.history.open_store import redis_or_embedded
from konvox_hooks.registration.plan import hook_url
from konvox_hooks.service.logging import configure_logging
from konvox_hooks.service.process import with_signals
from konvox_hooks.service.reloader import ReloadedWorker
from konvox_hooks.service.supervisor import Child, Supervisor
from konvox_hooks.terminal.formatting import example

logger = structlog.get_logger("konvox_hooks")


@dataclass(frozen=True, slots=True)
class _Rehearsal:
    """What is needed to have a sandbox deliver to the receiver."""

    config: SandboxConfig
    receiver: str
    hook: str


@click.command(epilog=example("dev", "dev --sandbox --scenario chaos --rate 5"))
@click.option("--sandbox", is_flag=True, help="Run a Konvox as well, whose contacts are enrolled, reply and opt out.")
@click.option(
    "--scenario", type=click.Choice(list(SCENARIOS)), default="steady", show_default=True, help="How they do that."
)
@click.option(
    "--rate",
    metavar="EVENTS_PER_SECOND",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many enrollments, and how many replies and opt-outs, come on the average.",
)
def command(*, sandbox: bool, scenario: str, rate: float) -> None:
    """Run receiver and worker as `serve` does, and load the handlers anew when a file of them changes.

    No event is lost by that: what comes meanwhile waits. A file that does not load is told, and the worker starts again
    when it is fixed. Other settings are read at the start only. With --sandbox, ctx.konvox is the sandbox's client.
    """
    settings = load_settings()
    settings.require_way_in()
    log_format = "console" if settings.log_format == "auto" else settings.log_format
    configure_logging(settings.log_level, log_format)
    rehearsal = _rehearsal(settings, scenario, rate) if sandbox else None
    asyncio.run(_develop(settings, {"KONVOX_LOG_FORMAT": log_format}, rehearsal))


def _rehearsal(settings: Settings, scenario: str, rate: float) -> _Rehearsal:
    account = settings_of_account(settings, None)
    receiver = own_origin(settings)
    token = account.hook_tokens[0].get_secret_value() if account.hook_tokens else None
    try:
        hook = hook_url(receiver, token)
    except ValueError:
        raise UsageError(
            f"{variable_of('host')}: the sandbox delivers to this machine only (example: {example_of('host')})"
        ) from None
    return _Rehearsal(rehearsal_config(account, scenario=scenario, rate=rate), receiver, hook)


async def _develop(settings: Settings, environment: dict[str, str], rehearsal: _Rehearsal | None) -> None:
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(redis_or_embedded(settings))
        environment |= {} if settings.redis_url else {"KONVOX_REDIS_URL": redis_url}
        if rehearsal is not None:
            url = await stack.enter_async_context(sandbox_running(rehearsal.config))
            environment |= {"KONVOX_API_URL": url, "KONVOX_API_KEY": rehearsal.config.full_key}
            coming = generate_traffic(rehearsal.config, url, receiver=rehearsal.receiver, hook=rehearsal.hook)
            task = asyncio.create_task(coming)
            task.add_done_callback(_say_if_broken)
            stack.callback(task.cancel)
        await _serve(settings, environment)


def _say_if_broken(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("sandbox.traffic_failed", error=f"{type(error).__name__}: {error}")


async def _serve(settings: Settings, environment: dict[str, str]) -> None:
    receiver = Child("receiver", ["receiver"], environment)
    # The worker's admin listener takes any free port: the configured one is the receiver's.
    child = Child("worker", ["worker"], {**environment, "KONVOX_ADMIN_PORT": "0"})
    worker = ReloadedWorker(child, settings.handlers)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            await Supervisor([receiver]).run()
        finally:
            with_signals(worker.stop)  # a second signal is for the worker
            worker.stop()
