"""Backlog: what a long queue costs. The time of a claim, and the worker's memory, with 1,000,000 queued against few."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from arq.connections import ArqRedis

from benchmarks.drain.konvox_hooks import CONCURRENCY, CONTENDER, environment, fill, settled
from benchmarks.entry import Entry
from benchmarks.figures import TIMES_AS_LONG, Bound, Sample
from benchmarks.processes import running
from benchmarks.store import Store, fresh_store
from benchmarks.workload import bodies
from broker import queue
from broker.redis.pipelined import PipelinedConnection

FEW = 1_000
MANY = 1_000_000
QUICK_MANY = 20_000
HANDLED = 20_000
QUICK_HANDLED = 4_000
CLAIMS = 300
MOST_TIMES = 1.5
MOST_GROWTH_MIB = 5.0
"""What two workers with the same work differ by anyway."""

_LEASE_MS = 60_000
_LOOK_SECONDS = 0.05
_LONGEST_SECONDS = 120.0


def entries(*, quick: bool) -> list[Entry]:
    """Ours alone, and once: to queue a million takes most of the time, and nothing here depends on the weather."""
    many = QUICK_MANY if quick else MANY
    return [
        Entry(
            "backlog",
            "konvox-hooks worker",
            f"claim of {CONCURRENCY} with {many:,} queued against {FEW:,}",
            str(CONCURRENCY),
            TIMES_AS_LONG,
            partial(measure, many=many, handled=QUICK_HANDLED if quick else HANDLED),
            bounds=(
                Bound("value", "", " times", most=MOST_TIMES),
                Bound("rss_growth_mib", "worker's memory grows by", " MiB", most=MOST_GROWTH_MIB),
            ),
            most_rounds=1,
        )
    ]


async def measure(folder: Path, *, many: int, handled: int) -> Sample:
    """How many times as long a claim takes, and by how much a worker's memory grows over the same work."""
    async with fresh_store(folder) as short, fresh_store(folder) as long:
        await _queue(short, bodies(FEW), folder)
        await _queue(long, bodies(many), folder)
        few_ms, many_ms = await _claims_ms(short.client, long.client)
        await _queue(short, bodies(handled, series="more"), folder)
        few_rss_mib = await _rss_mib(short, folder, until=handled)
        many_rss_mib = await _rss_mib(long, folder, until=handled)
    return Sample(
        many,
        many_ms / few_ms,
        more={
            "claim_ms_with_few": few_ms,
            "claim_ms_with_many": many_ms,
            "rss_mib_with_few": few_rss_mib,
            "rss_mib_with_many": many_rss_mib,
            "rss_growth_mib": many_rss_mib - few_rss_mib,
        },
    )


async def _claims_ms(*servers: ArqRedis) -> list[float]:
    """The median time of a claim from each of these, in turns, so that both meet the same weather."""
    durations: list[list[float]] = [[] for _ in servers]
    pipes = [PipelinedConnection(server) for server in servers]
    for number in range(CLAIMS):
        for server, pipe, taken in zip(servers, pipes, durations, strict=True):
            taken.append(await _claim_ms(server, pipe, token=f"claim-{number}"))
    return [statistics.median(taken) for taken in durations]


async def _claim_ms(server: ArqRedis, pipe: PipelinedConnection, *, token: str) -> float:
    """How long a claim takes, as its caller sees it. What it claims, it hands back."""
    before = time.perf_counter()
    claims = await queue.claim(pipe, queue.ClaimRequest(CONCURRENCY, _LEASE_MS, token, suspect_wanted=False))
    seconds = time.perf_counter() - before
    await queue.release(server, claims.jobs)
    return seconds * 1000


async def _queue(store: Store, pending: Iterator[bytes], folder: Path) -> None:
    async with store.filling():
        await fill(store, pending, folder)


async def _rss_mib(store: Store, folder: Path, *, until: int) -> float:
    """The most memory that a worker has until so many are settled."""
    most = 0.0
    async with (
        asyncio.timeout(_LONGEST_SECONDS),
        running(CONTENDER.command, environment(store.url), folder) as worker,
    ):
        while await settled(store.client) < until:
            worker.check()
            most = max(most, worker.rss_mib())
            await asyncio.sleep(_LOOK_SECONDS)
    return most
