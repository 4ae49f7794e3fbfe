"""`konvox-hooks serve`: receiver and worker on one machine, with an embedded Valkey unless one is configured."""

from __future__ import annotations

import asyncio

import click

from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.history.open_store import redis_or_embedded
from konvox_hooks.service.logging import configure_logging
from konvox_hooks.service.supervisor import Child, Supervisor


@click.command()
def command() -> None:
    """Run receiver and worker, each in a process of its own, until SIGTERM or Ctrl-C.

    Without KONVOX_REDIS_URL an embedded Valkey keeps the events in KONVOX_DATA_DIR. A worker that a handler takes down
    is started again, and the events that it had in hand run again within the lease.
    """
    settings = load_settings()
    settings.require_way_in()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with redis_or_embedded(settings) as redis_url:
        environment = {} if settings.redis_url else {"KONVOX_REDIS_URL": redis_url}
        # The worker's admin listener takes any free port: the configured one is the receiver's.
        receiver = Child("receiver", ["receiver"], environment)
        worker = Child("worker", ["worker"], {**environment, "KONVOX_ADMIN_PORT": "0"})
        await Supervisor([receiver, worker]).run()
