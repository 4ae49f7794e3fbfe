"""Dramatiq and taskiq, each with a task that validates our model. Neither keeps an account of what it has done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from arq.connections import ArqRedis

from benchmarks.drain.contender import Worker
from benchmarks.peers.install import python_of
from benchmarks.processes import run_to_end
from benchmarks.store import Store

_DRAMATIQ_APP = "benchmarks.peers.dramatiq_app"
_DRAMATIQ_THREADS = 8
"""Its default; more are slower here."""

_TASKIQ_APP = "benchmarks.peers.taskiq_app"
_TASKIQ_TASKS = 100
"""Its default, and its stream's batch."""


def environment(store_url: str) -> Mapping[str, str]:
    """What their programs must be told."""
    return {"STORE_URL": store_url}


async def _fill_dramatiq(store: Store, bodies: Sequence[bytes], folder: Path) -> None:
    command = (python_of("dramatiq"), "-m", _DRAMATIQ_APP)
    await run_to_end(command, environment(store.url), folder, b"\n".join(bodies))


async def _left_dramatiq(server: ArqRedis) -> int:
    """The messages that are not acknowledged, those that wait for a retry included."""
    return int(await server.hlen("dramatiq:default.msgs")) + int(await server.hlen("dramatiq:default.DQ.msgs"))


async def _fill_taskiq(store: Store, bodies: Sequence[bytes], folder: Path) -> None:
    command = (python_of("taskiq"), "-m", _TASKIQ_APP)
    await run_to_end(command, environment(store.url), folder, b"\n".join(bodies))


async def _left_taskiq(server: ArqRedis) -> int:
    """What of the stream is not delivered to a worker, or not acknowledged by it."""
    [group] = await server.xinfo_groups("taskiq")
    return int(group["lag"] or 0) + int(group["pending"])


DRAMATIQ = Worker(
    "Dramatiq",
    (
        *(python_of("dramatiq"), "-m", "dramatiq", _DRAMATIQ_APP),
        *("--processes", "1", "--threads", str(_DRAMATIQ_THREADS)),
    ),
    environment,
    _fill_dramatiq,
    _left_dramatiq,
    settled=None,
    concurrency=_DRAMATIQ_THREADS,
    note="threads; no outcome kept",
    peer="dramatiq",
)

TASKIQ = Worker(
    "taskiq",
    (
        *(python_of("taskiq"), "-m", "taskiq", "worker", f"{_TASKIQ_APP}:broker"),
        *("--workers", "1", "--max-async-tasks", str(_TASKIQ_TASKS), "--log-level", "WARNING"),
    ),
    environment,
    _fill_taskiq,
    _left_taskiq,
    settled=None,
    concurrency=_TASKIQ_TASKS,
    note="Redis stream with acknowledgements; no outcome kept",
    peer="taskiq",
)
