"""Body: how the cost of a POST grows with the size of its body.

As `receive`, with 10,000 requests and bodies of 230 bytes, 4 KiB more and 64 KiB more. The value is how many times as
long the largest takes as the smallest; the rates are in the JSON. No target.
"""

from pathlib import Path

from benchmarks.harness.figures import TIMES_AS_LONG, Contender, Sample
from benchmarks.harness.system import CONNECTIONS
from benchmarks.measures import receive
from benchmarks.peers.systems import OURS


def contenders(*, quick: bool) -> list[Contender]:
    requests = 2_000 if quick else 10_000

    async def sample(folder: Path) -> Sample:
        rates = {}
        for padding_bytes in (0, 4_096, 65_536):
            received = await receive.measure(OURS, requests, folder, padding_bytes=padding_bytes)
            rates[f"per_second_with_{padding_bytes}_bytes_more"] = received.value
        small, _, large = rates.values()
        return Sample(requests, small / large, more=rates)

    note = "a body of 64 KiB more against one of 230 bytes"
    return [Contender("body", "konvox-hooks receiver", note, CONNECTIONS, TIMES_AS_LONG, sample)]
