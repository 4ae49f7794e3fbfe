"""The run of one job: what is started, and what is released instead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.queue import Settlement
from konvox.events import Event
from tests.support.events import admitted, claimed
from tests.support.store import KEYS, RedisClient
from tests.support.workers import dispatcher_of, handler
from worker.leasing.inflight import InflightJobs
from worker.runner import JobRunner


class Settlements:
    """Takes what a settler would be given."""

    def __init__(self) -> None:
        self.added: list[Settlement] = []

    def add(self, settlement: Settlement) -> None:
        """Keep it."""
        self.added.append(settlement)


@pytest.mark.parametrize(("places", "closed", "starts"), [(3, False, 3), (2, False, 2), (3, True, 0)])
async def test_what_there_is_no_place_for_is_released(
    server: RedisClient, places: int, closed: bool, starts: int
) -> None:
    """A job beyond the places, and any job once the worker stops, is due again without having run, and no crash."""
    await admitted(server, 3)
    claims = (await claimed(server, token="a")).jobs
    ids = [claim.job_id for claim in claims]
    runs: list[str] = []

    async def note(event: Event, ctx: Any) -> None:
        runs.append(event.id)

    inflight, freed, settlements = InflightJobs(places), asyncio.Event(), Settlements()
    settler: Any = settlements
    runner = JobRunner(server, dispatcher_of(handler(note)), inflight, settler, on_freed=freed.set)
    if closed:
        runner.close()
    runner.start(claims)
    await runner.released()
    await asyncio.gather(*inflight.tasks())
    assert runs == ids[:starts]
    assert [settlement.claim.job_id for settlement in settlements.added] == ids[:starts]
    assert (len(inflight), freed.is_set()) == (starts, starts < 3)
    assert await server.hlen(KEYS.leases) == starts
    again = (await claimed(server, token="b")).jobs
    assert [(claim.job_id, claim.crashes) for claim in again] == [(job_id, 0) for job_id in ids[starts:]]
