"""Outage: Valkey is killed, stays away for a minute, and is started again on its data, under an even load.

500 POSTs a second on 64 connections to a receiver with a worker beside it, after 200 to warm up: 5 s, then Valkey is
killed (kill -9), 60 s, then it is started again, 5 s. The time runs from the start of Valkey's process: it includes the
loading of its data and the last requests. It ends when all events are delivered, by the ledger, which must balance.
Every answer must be 200. Target: all handled after 30 s, the slowest answer after 3 s.
"""

import asyncio
import time
from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import SECONDS, Bound, Contender, Sample
from benchmarks.harness.system import CONNECTIONS, service
from benchmarks.peers.systems import OURS

_RATE = 500
_WARM_UP_REQUESTS = 200


def contenders(*, quick: bool) -> list[Contender]:
    before_seconds, away_seconds, after_seconds = (1, 5, 2) if quick else (5, 60, 5)
    requests = _RATE * (before_seconds + away_seconds + after_seconds)

    async def sample(folder: Path) -> Sample:
        async with (
            service(OURS, folder) as ours,
            ours.load(requests=requests, warm_up=_WARM_UP_REQUESTS, rate=_RATE) as sending,
        ):
            async with ours.metered() as usage:
                sending.start()
                await asyncio.sleep(before_seconds)
                await ours.store.kill()
                await asyncio.sleep(away_seconds)
                returned = time.perf_counter()
                await ours.store.start()
                loaded_seconds = time.perf_counter() - returned
                outcome = await sending.outcome()
                await ours.all_delivered(requests + _WARM_UP_REQUESTS)
                handled_seconds = time.perf_counter() - returned
            await product.check_ledger(ours.store.client, requests + _WARM_UP_REQUESTS)
        more = {"slowest_seconds": outcome.max_ms / 1000, "loaded_seconds": loaded_seconds}
        return usage.sample(requests, handled_seconds, outcome, **more)

    name = "konvox-hooks receiver and worker"
    note = f"from the return of Valkey after {away_seconds} s until all are handled, at {_RATE}/s"
    bounds = (Bound("value", "", " s", most=30.0), Bound("slowest_seconds", "slowest answer", " s", most=3.0))
    return [Contender("outage", name, note, CONNECTIONS, SECONDS, sample, bounds)]
