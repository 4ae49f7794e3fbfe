"""`konvox-hooks worker`: runs the handlers, alone on a machine or beside others."""

from __future__ import annotations

import click
import uvloop

from console.logs import configure_logging
from console.roles import run_worker
from console.settings import load_settings
from console.store import configured_redis


@click.command()
@click.option("--burst", is_flag=True, help="Stop once the queue is empty, retries included.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when the parent process is gone.")
def command(*, burst: bool, with_parent: bool) -> None:
    """Run your handlers on the events that wait, until SIGTERM or Ctrl-C.

    The first signal lets running handlers finish for KONVOX_STOP_SECONDS; a second one hands their events back at once.
    """
    settings = load_settings()
    redis_url = configured_redis(settings, command="worker")
    configure_logging(settings.log_level, settings.log_format)
    # As in the receiver, the loop is in C: see docs/performance.md.
    uvloop.run(run_worker(settings, redis_url, burst=burst, with_parent=with_parent))
