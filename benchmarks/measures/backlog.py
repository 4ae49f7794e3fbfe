"""Backlog: what a long queue costs, in the time of a claim and in the worker's memory.

The median over 300 claims of 100 jobs, each released again, from a store with 1,000 queued and from one with 1,000,000,
in turns: the machine is the same for both. And the most memory (RSS) that a worker has until it has settled 20,000 of a
million, against 20,000 of 21,000. One round: to queue a million takes most of its time, and the figures spread little.
Targets: 1.5 times as long; no growth beyond 5 MiB, by which two workers with the same work differ anyway.
"""

import asyncio
import statistics
from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import TIMES_AS_LONG, Bound, Contender, Sample
from benchmarks.harness.store import Store, fresh_store
from benchmarks.harness.system import service
from benchmarks.harness.workload import bodies
from benchmarks.peers.systems import OURS

_FEW = 1_000
_CLAIMS = 300
_LOOK_SECONDS = 0.05
_LONGEST_SECONDS = 120.0


def contenders(*, quick: bool) -> list[Contender]:
    many, handled = (20_000, 4_000) if quick else (1_000_000, 20_000)

    async def sample(folder: Path) -> Sample:
        async with fresh_store(folder) as short, fresh_store(folder) as long:
            async with short.filling(), long.filling():
                await product.admit_bodies(short.client, bodies(_FEW))
                await product.admit_bodies(long.client, bodies(many))
            few_ms, many_ms = await _claims_ms(short, long)
            async with short.filling():
                await product.admit_bodies(short.client, bodies(handled, series="more"))
            few_mib, many_mib = [await _rss_mib(store, folder, until=handled) for store in (short, long)]
        claims_ms = {"claim_ms_with_few": few_ms, "claim_ms_with_many": many_ms}
        rss_mib = {"rss_mib_with_few": few_mib, "rss_mib_with_many": many_mib, "rss_growth_mib": many_mib - few_mib}
        return Sample(many, many_ms / few_ms, more={**claims_ms, **rss_mib})

    note = f"claim of {product.CONCURRENCY} with {many:,} queued against {_FEW:,}"
    growth = Bound("rss_growth_mib", "worker's memory grows by", " MiB", most=5.0)
    bounds, concurrency = (Bound("value", "", " times", most=1.5), growth), product.CONCURRENCY
    return [
        Contender("backlog", "konvox-hooks worker", note, concurrency, TIMES_AS_LONG, sample, bounds, most_rounds=1)
    ]


async def _claims_ms(*stores: Store) -> list[float]:
    """The median time of a claim from each of these, in turns."""
    clients = [(store.client, product.PipelinedConnection(store.client)) for store in stores]
    rounds = [[await product.claim_ms(*client, f"claim-{number}") for client in clients] for number in range(_CLAIMS)]
    return [statistics.median(taken_ms) for taken_ms in zip(*rounds, strict=True)]


async def _rss_mib(store: Store, folder: Path, *, until: int) -> float:
    """The most memory that a worker has until so many deliveries are settled."""
    most = 0.0
    async with asyncio.timeout(_LONGEST_SECONDS), service(OURS, folder, "worker", store=store) as worker:
        while await product.delivered(store.client) < until:
            worker.check()
            most = max(most, worker.processes["worker"].rss_mib())
            await asyncio.sleep(_LOOK_SECONDS)
    return most
