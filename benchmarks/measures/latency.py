"""Latency: the time from the POST to the start of its handler.

A receiver and a worker around a fresh store, and an even 200 POSTs a second for 10 s on 16 connections, after 200 to
warm up that have gone all the way. The sender writes down when it sends, the handler when it starts, by the same clock.
Each handler must run once. Against it: aiohttp with stock arq as it comes, SAQ or streaQ, and Fastify with BullMQ.
Target: a p50 no longer than BullMQ's, a p99 of at most 3 ms.
"""

from functools import partial
from pathlib import Path

from benchmarks.harness.figures import MILLISECONDS, Bound, Contender, NotMeasuredError, Sample, percentile
from benchmarks.harness.system import System, service
from benchmarks.harness.workload import read_marks
from benchmarks.peers import systems

_RATE = 200
_WARM_UP = 200


def contenders(*, quick: bool) -> list[Contender]:

    def row(system: System, name: str, note: str = "", *bounds: Bound, target: float | None = None) -> Contender:
        sample, concurrency = partial(measure, system, _RATE * (2 if quick else 10)), system.concurrency
        return Contender("latency", name, note, concurrency, MILLISECONDS, sample, bounds, target, system.peer)

    return [
        row(systems.OURS, "konvox-hooks receiver and worker", "", Bound("p99_ms", "p99", " ms", most=3.0)),
        row(systems.ARQ, "aiohttp + stock arq", "as it comes"),
        row(systems.BULLMQ, "Fastify + BullMQ", target=1.0),
        row(systems.SAQ, "SAQ", "behind aiohttp"),
        row(systems.STREAQ, "streaQ", "behind aiohttp"),
    ]


async def measure(system: System, requests: int, folder: Path) -> Sample:
    """The median from POST to handler; p99 and the longest beside it."""
    marks, sent = folder / "marks", folder / "sent"
    marks.unlink(missing_ok=True)
    async with (
        service(system, folder, settings={"MARKS": str(marks), "BENCH_HANDLER": "mark"}) as both,
        both.load(connections=16, requests=requests, warm_up=_WARM_UP, rate=_RATE, sent=str(sent)) as sending,
    ):
        await both.has_marked(marks, _WARM_UP)
        async with both.metered() as usage:
            outcome = await sending.run()
        await both.has_marked(marks, _WARM_UP + requests)
    started = read_marks(marks)
    if (most := max(map(len, started.values()))) > 1:
        raise NotMeasuredError(f"the handler of one event ran {most} times")
    latencies_ms = sorted((started[contact][0] - sent_ns) / 1e6 for contact, [sent_ns] in read_marks(sent).items())
    p50_ms, p99_ms = percentile(latencies_ms, 50), percentile(latencies_ms, 99)
    more = {"p50_ms": p50_ms, "p99_ms": p99_ms, "max_ms": latencies_ms[-1], "answer_p99_ms": outcome.p99_ms}
    return usage.sample(requests, p50_ms, outcome, **more)
