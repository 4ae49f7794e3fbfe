"""Half peak: the p99 of our receiver's answers at half the rate that it can take.

One sample measures both: first the peak, as `receive` does, with 20,000 requests; then, at a fresh receiver, 5 s of an
open loop at half that rate on 64 connections. A latency counts from when the request was due. Target: 25 ms.
"""

from dataclasses import asdict
from pathlib import Path

from benchmarks.harness.figures import MILLISECONDS, Bound, Contender, Sample
from benchmarks.harness.system import CONNECTIONS, service
from benchmarks.measures import receive
from benchmarks.peers.systems import OURS


def contenders(*, quick: bool) -> list[Contender]:
    peak_requests, seconds = (4_000, 1.0) if quick else (20_000, 5.0)

    async def sample(folder: Path) -> Sample:
        peak = await peak_per_second(folder, requests=peak_requests)
        rate, warm_up = peak / 2, receive.WARM_UP_REQUESTS
        async with (
            service(OURS, folder, "receiver") as receiver,
            receiver.load(requests=round(rate * seconds), warm_up=warm_up, rate=rate) as sending,
        ):
            outcome = await sending.run()
        return Sample(outcome.answered, outcome.p99_ms, more={**asdict(outcome), "peak_per_second": peak})

    note, bounds = "p99 of the answers at half the peak rate, open loop", (Bound("value", "", " ms", most=25.0),)
    return [Contender("half-peak", "konvox-hooks receiver", note, CONNECTIONS, MILLISECONDS, sample, bounds)]


async def peak_per_second(folder: Path, *, requests: int = 20_000) -> float:
    """How many POSTs a second our receiver answers."""
    return (await receive.measure(OURS, requests, folder)).value
