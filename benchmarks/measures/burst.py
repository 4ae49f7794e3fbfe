"""Burst: 50,000 events at once into a service that has done nothing yet.

A receiver and a worker around a fresh store, 500 connections, no warm-up. All requests are due when the clock starts:
the slowest answer is the last one. Each must be answered with 200, and all must be delivered, by the ledger; how long
that takes stands beside it in the JSON. Target: the last answer after at most 5 s.
"""

from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import SECONDS, Bound, Contender, Sample
from benchmarks.harness.system import service
from benchmarks.peers.systems import OURS

_CONNECTIONS = 500


def contenders(*, quick: bool) -> list[Contender]:
    events = 5_000 if quick else 50_000

    async def sample(folder: Path) -> Sample:
        async with (
            service(OURS, folder) as ours,
            ours.load(connections=_CONNECTIONS, requests=events, warm_up=0) as sending,
        ):
            async with ours.metered() as usage:
                outcome = await sending.run()
                await ours.all_delivered(events)
            await product.check_ledger(ours.store.client, events)
        return usage.sample(events, outcome.seconds, outcome, handled_seconds=usage.clock)

    name, note = "konvox-hooks receiver and worker", "slowest answer, counted from the start of the burst"
    return [Contender("burst", name, note, _CONNECTIONS, SECONDS, sample, (Bound("value", "", " s", most=5.0),))]
