"""`konvox-hooks serve`: run receiver and worker on one machine, with an embedded Valkey unless Redis is configured."""

from __future__ import annotations

import asyncio

import click

from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.history.open_store import redis_or_embedded
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.service.supervisor import Child, Supervisor


@click.command()
def command() -> None:
    """Run receiver and worker, each in a process of its own, until SIGTERM or Ctrl-C.

    Without KONVOX_REDIS_URL an embedded Valkey keeps the events in KONVOX_DATA_DIR. A process that crashes is started
    again. Events that were in flight in a worker that crashed run again after the lease, KONVOX_LEASE_SECONDS.
    """
    settings = load_settings()
    settings.require_authentication()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with redis_or_embedded(settings) as redis_url:
        environment = {} if settings.redis_url else {"KONVOX_REDIS_URL": redis_url}
        # The worker's admin listener takes a free port, because the receiver's has the configured one.
        receiver = Child("receiver", ["receiver"], environment)
        worker = Child("worker", ["worker"], {**environment, "KONVOX_ADMIN_PORT": "0"})
        await Supervisor([receiver, worker]).run()
