"""`konvox-hooks receiver`: run a receiver only, on a machine of its own or on several."""

from __future__ import annotations

import asyncio

import click

from konvox_hooks.config.load import load_settings
from konvox_hooks.history.open_store import configured_redis
from konvox_hooks.process.event_loop import fast_event_loop
from konvox_hooks.process.forced_exit import run_to_end
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.service.processes import process_options, run_receivers
from konvox_hooks.service.receiver import run_receiver


@click.command()
@process_options
@click.option("--share-port", is_flag=True, hidden=True, help="Listen on a port that other receivers listen on too.")
def command(*, processes: int, parent_pid: int | None, share_port: bool) -> None:
    """Receive events from Konvox and keep them in Redis, until SIGTERM or Ctrl-C.

    It listens on KONVOX_HOST:KONVOX_PORT for Konvox, and on KONVOX_ADMIN_HOST:KONVOX_ADMIN_PORT for health and metrics.
    With --processes, all processes listen on KONVOX_PORT, and the kernel spreads the connections over them. The first
    one's admin listener has KONVOX_ADMIN_PORT; each other one has a free port, which the log names.
    """
    settings = load_settings()
    settings.require_authentication()
    redis_url = configured_redis(settings, command="receiver")
    configure_logging(settings.log_level, settings.log_format)
    if processes > 1:
        asyncio.run(run_receivers(settings, processes, parent_pid=parent_pid))
    else:
        receiver = run_receiver(settings, redis_url, parent_pid=parent_pid, share_port=share_port)
        run_to_end(receiver, loop_factory=fast_event_loop())
