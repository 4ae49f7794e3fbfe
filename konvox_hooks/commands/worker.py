"""`konvox-hooks worker`: runs the handlers, alone on a machine or beside others."""

from __future__ import annotations

import asyncio

import click
import uvloop

from konvox_hooks.config.load import load_settings
from konvox_hooks.history.open_store import configured_redis
from konvox_hooks.service.forced_exit import run_to_end
from konvox_hooks.service.logging import configure_logging
from konvox_hooks.service.processes import process_options, run_workers
from konvox_hooks.service.worker import run_worker


@click.command()
@click.option("--burst", is_flag=True, help="Stop once the queue is empty, retries included.")
@process_options
def command(*, burst: bool, processes: int, parent_pid: int | None) -> None:
    """Run your handlers on the events that wait, until SIGTERM or Ctrl-C.

    The first signal lets running handlers finish for KONVOX_STOP_SECONDS; a second one hands their events back at once.
    With --processes, each runs KONVOX_CONCURRENCY events at a time; of the admin listeners the first has
    KONVOX_ADMIN_PORT, and each other one a free port that the log names.
    """
    settings = load_settings()
    redis_url = configured_redis(settings, command="worker")
    configure_logging(settings.log_level, settings.log_format)
    if processes > 1:
        asyncio.run(run_workers(processes, burst=burst, parent_pid=parent_pid))
    else:
        # As in the receiver, the loop is in C: see docs/performance.md.
        worker = run_worker(settings, redis_url, burst=burst, parent_pid=parent_pid)
        run_to_end(worker, loop_factory=uvloop.new_event_loop)
