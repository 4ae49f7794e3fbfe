"""Handlers: how the cost of an event grows with the number of its handlers.

As `drain`, with 10,000 events and 1, 4 and 16 handlers in one worker. The value is how many times as long an event
takes with 16 as with 1; the rates are in the JSON. No target.
"""

from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import TIMES_AS_LONG, Contender, Sample
from benchmarks.measures import drain
from benchmarks.peers.systems import OURS


def contenders(*, quick: bool) -> list[Contender]:
    events = 3_000 if quick else 10_000

    async def sample(folder: Path) -> Sample:
        rates = {}
        for count in (1, 4, 16):
            drained = await drain.measure(OURS, events, folder, BENCH_HANDLER_COUNT=str(count))
            rates[f"per_second_with_{count}"] = drained.value
        return Sample(events, rates["per_second_with_1"] / rates["per_second_with_16"], more=rates)

    note = "an event for 16 handlers against one for 1"
    return [Contender("handlers", "konvox-hooks worker", note, product.CONCURRENCY, TIMES_AS_LONG, sample)]
