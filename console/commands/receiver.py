"""`konvox-hooks receiver`: the receiver alone, for a machine of its own or several of them."""

from __future__ import annotations

import click
import uvloop

from console.logs import configure_logging
from console.roles import run_receiver
from console.settings import load_settings
from console.store import configured_redis


@click.command()
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when the parent process is gone.")
def command(*, with_parent: bool) -> None:
    """Take events in from Konvox and keep them in Redis, until SIGTERM or Ctrl-C.

    It listens on KONVOX_HOST:KONVOX_PORT for Konvox, and on KONVOX_ADMIN_HOST:KONVOX_ADMIN_PORT for health and metrics.
    """
    settings = load_settings()
    settings.require_way_in()
    redis_url = configured_redis(settings, command="receiver")
    configure_logging(settings.log_level, settings.log_format)
    # Of an event's way through the receiver a quarter is the loop's, and uvloop's is in C: see docs/performance.md.
    uvloop.run(run_receiver(settings, redis_url, with_parent=with_parent))
