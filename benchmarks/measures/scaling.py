"""Scaling: how many times as many events two worker processes settle as one, where a handler costs CPU time.

As `drain`, with 10,000 events and a handler that computes for 0.2 ms: `worker --processes 2` against `worker`. On two
cores Valkey and the client that looks have no core of their own. Target: 1.6 times as many.
"""

from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import CORES_BUSY_ELSEWHERE, TIMES_MORE, Bound, Contender, Sample
from benchmarks.measures import drain
from benchmarks.peers.systems import OURS, OURS_TWICE


def contenders(*, quick: bool) -> list[Contender]:
    events = 3_000 if quick else 10_000

    async def sample(folder: Path) -> Sample:
        one = await drain.measure(OURS, events, folder, BENCH_HANDLER="compute")
        two = await drain.measure(OURS_TWICE, events, folder, BENCH_HANDLER="compute")
        elsewhere = max(one.more[CORES_BUSY_ELSEWHERE], two.more[CORES_BUSY_ELSEWHERE])
        more = {**two.more, CORES_BUSY_ELSEWHERE: elsewhere, "one_per_second": one.value, "two_per_second": two.value}
        return Sample(events, two.value / one.value, two.cpu_seconds_per_1000, more)

    name, note = "konvox-hooks worker, 2 processes against 1", "handler of 0.2 ms of CPU"
    bounds = (Bound("value", "", " times", least=1.6),)
    return [Contender("scaling", name, note, f"{product.CONCURRENCY} each", TIMES_MORE, sample, bounds)]
