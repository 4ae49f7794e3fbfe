"""Spooling: how fast the receiver answers while Valkey is away, and how soon its spool is empty once Valkey is back.

Valkey is killed, and the receiver takes 100,000 POSTs on 64 connections (closed loop) after 200 to warm up, by which it
has noticed. The first row is that rate; every event must be in the spool on disk. The second has a sample of its own:
Valkey is started again after that, while an even 500 POSTs a second come and the worker runs, until the receiver's
metrics say that nothing is spooled any more. Every event must be delivered. Targets: 5,000 a second; drained within
60 s, with a p99 of the live answers of at most 100 ms.
"""

import time
from functools import partial
from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.figures import PER_SECOND, SECONDS, Bound, Contender, NotMeasuredError, Sample
from benchmarks.harness.processes import until
from benchmarks.harness.system import CONNECTIONS, Service, service
from benchmarks.peers.systems import OURS

_LIVE_RATE = 500
_WARM_UP_REQUESTS = 200
_LONGEST_SECONDS = 180.0


def contenders(*, quick: bool) -> list[Contender]:
    events, name = (5_000 if quick else 100_000), "konvox-hooks receiver"
    rate, bound = partial(measure_rate, events=events), Bound("value", "", "/s", least=5_000)
    note = f"from the return of Valkey until the spool is empty, with a worker and {_LIVE_RATE} live POSTs/s"
    draining = partial(measure_draining, events=events)
    bounds = (Bound("value", "", " s", most=60.0), Bound("p99_ms", "p99 of the live answers", " ms", most=100.0))
    return [
        Contender("spooling", name, "POSTs answered while Valkey is away", CONNECTIONS, PER_SECOND, rate, (bound,)),
        Contender("spooling", f"{name}, draining", note, CONNECTIONS, SECONDS, draining, bounds),
    ]


async def measure_rate(folder: Path, *, events: int) -> Sample:
    """POSTs answered a second, while Valkey is away."""
    async with service(OURS, folder) as ours:
        await ours.store.kill()
        sample = await _spool(ours, events)
        spooled = product.spooled(ours.data)
    if spooled != events + _WARM_UP_REQUESTS:
        raise NotMeasuredError(f"{events + _WARM_UP_REQUESTS} were answered, {spooled} are in the spool")
    return sample


async def measure_draining(folder: Path, *, events: int) -> Sample:
    """Seconds from the return of Valkey until the spool is empty; the live answers meanwhile stand beside it."""
    live = round(_LIVE_RATE * _LONGEST_SECONDS)
    async with service(OURS, folder) as ours:

        async def drained() -> bool:
            return ours.check() and (await ours.metrics("receiver"))[product.SPOOLED_METRIC] == 0

        await ours.store.kill()
        await _spool(ours, events)
        async with (
            ours.load(requests=live, warm_up=_WARM_UP_REQUESTS, rate=_LIVE_RATE, series="live") as sending,
            ours.metered() as usage,
        ):
            sending.start()
            returned = time.perf_counter()
            await ours.store.start()
            loaded_seconds = time.perf_counter() - returned
            await until(drained, seconds=_LONGEST_SECONDS, look_seconds=0.1)
            seconds = time.perf_counter() - returned
            sending.send_no_more()
            outcome = await sending.outcome()
        sent = events + outcome.answered + 2 * _WARM_UP_REQUESTS
        await ours.all_delivered(sent)
        handled_seconds = time.perf_counter() - returned
        await product.check_ledger(ours.store.client, sent)
    more = {"live_requests": outcome.answered, "loaded_seconds": loaded_seconds, "handled_seconds": handled_seconds}
    return Sample(events, seconds, more=usage.sample(events, seconds, outcome, **more).more)


async def _spool(ours: Service, events: int) -> Sample:
    """So many POSTs, while Valkey is away."""
    async with ours.load(requests=events, warm_up=_WARM_UP_REQUESTS) as sending, ours.metered("receiver") as usage:
        outcome = await sending.run()
    ours.check()
    return usage.sample(events, events / outcome.seconds, outcome)
