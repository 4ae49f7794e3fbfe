"""Receive: how many signed POSTs a second one receiver process answers with 200.

A fresh store, a fresh process, 30,000 distinct POSTs on 64 keep-alive connections (closed loop) after 2,000 to warm up.
Every event must be in the store at the end. Against it: aiohttp that keeps nothing, aiohttp with one `enqueue_job` for
each request, Fastify with one BullMQ `queue.add`. Target: 0.95, 5 and 1.1 times as many as these.
"""

from functools import partial
from pathlib import Path

from benchmarks.harness.figures import PER_SECOND, Contender, NotMeasuredError, Sample
from benchmarks.harness.system import CONNECTIONS, System, service
from benchmarks.peers import systems

WARM_UP_REQUESTS = 2_000


def contenders(*, quick: bool) -> list[Contender]:

    def row(system: System, name: str, note: str, target: float | None = None) -> Contender:
        sample = partial(measure, system, 6_000 if quick else 30_000)
        return Contender("receive", name, note, CONNECTIONS, PER_SECOND, sample, target_ratio=target, peer=system.peer)

    return [
        row(systems.OURS, "konvox-hooks receiver", "verify, parse, dedupe, log, queue, durable"),
        row(systems.AIOHTTP, "aiohttp alone", "verify, parse; the event is lost", 0.95),
        row(systems.ARQ, "aiohttp + `enqueue_job`", "verify, parse, one `enqueue_job` a request", 5.0),
        row(systems.BULLMQ, "Fastify + BullMQ", "verify, parse, one `queue.add` a request", 1.1),
        row(systems.OURS_TWICE, "konvox-hooks receiver, 2 processes", "the same, `--processes 2`"),
    ]


async def measure(system: System, requests: int, folder: Path, *, padding_bytes: int = 0) -> Sample:
    """POSTs a second, latency and CPU time of one receiver."""
    sent = requests + WARM_UP_REQUESTS
    async with (
        service(system, folder, "receiver") as receiver,
        receiver.load(requests=requests, warm_up=WARM_UP_REQUESTS, padding_bytes=padding_bytes) as sending,
    ):
        async with receiver.metered() as usage:
            outcome = await sending.run()
        stored = sent if system.stored is None else await system.stored(receiver.store.client)
    if stored != sent:
        raise NotMeasuredError(f"{sent} were answered, {stored} are stored")
    return usage.sample(requests, requests / outcome.seconds, outcome)
