"""`konvox-hooks worker`: run a worker only, on a machine of its own or on several."""

from __future__ import annotations

import asyncio

import click

from konvox_hooks.config.load import load_settings
from konvox_hooks.history.open_store import configured_redis
from konvox_hooks.process.event_loop import fast_event_loop
from konvox_hooks.process.forced_exit import run_to_end
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.service.processes import process_options, run_workers
from konvox_hooks.service.worker import run_worker


@click.command()
@click.option("--burst", is_flag=True, help="Stop once the queue is empty, retries included.")
@process_options
@click.option("--full-tracebacks", is_flag=True, hidden=True, help="Log the frames of the worker too.")
def command(*, burst: bool, processes: int, parent_pid: int | None, full_tracebacks: bool) -> None:
    """Run your handlers on pending events, until SIGTERM or Ctrl-C.

    The first signal lets running handlers finish for KONVOX_STOP_SECONDS; a second one releases their events at once.
    With --processes, each process runs KONVOX_CONCURRENCY events at a time. The first one's admin listener has
    KONVOX_ADMIN_PORT; each other one has a free port, which the log names.
    """
    settings = load_settings()
    redis_url = configured_redis(settings, command="worker")
    configure_logging(settings.log_level, settings.log_format)
    if processes > 1:
        asyncio.run(run_workers(processes, burst=burst, parent_pid=parent_pid))
    else:
        worker = run_worker(settings, redis_url, burst=burst, parent_pid=parent_pid, full_tracebacks=full_tracebacks)
        run_to_end(worker, loop_factory=fast_event_loop())
