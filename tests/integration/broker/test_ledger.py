"""The ledger: `accepted = delivered + dead + pending` after every step, and whatever breaks it is found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from broker import audit as audit_module
from broker import dead_letters, keys, queue
from broker.admission import AdmissionPolicy, admit
from broker.event_log import events
from broker.ledger import audit, read_ledger
from broker.queue import Claimed
from broker.records import Job, Record
from broker.redis.client import Server
from tests.support.events import (
    RETENTION_MS,
    admitted,
    claimed,
    delivered,
    job_of,
    make_due,
    queued_ids,
    record_of,
    settled,
)
from worker.running.verdicts import AttemptPolicy, HandlerRun, poison_settlement, settlement_of, unreadable_settlement

HANDLERS = ("a", "b", "c")

Ended = Literal["done", "skipped", "dropped", "failed", "unfit"]
ENDS: tuple[Ended, ...] = ("done", "skipped", "dropped", "failed", "unfit")


@dataclass
class Store:
    """What happens to a store, step by step, with the claims that are out, lapsed ones included."""

    server: Server
    claims: list[Claimed] = field(default_factory=list)
    steps: list[tuple[Any, ...]] = field(default_factory=list)
    admissions: int = 0

    async def admit(self, number: int) -> None:
        """An event comes in, for the first time or not."""
        self.admissions += (await admit(self.server, [job_of(number)], AdmissionPolicy())).count(True)

    async def replay(self, number: int) -> None:
        """An operator sends an event again."""
        self.admissions += len(await admit(self.server, [Job.replay(record_of(number))], AdmissionPolicy()))

    async def end_window(self, number: int) -> None:
        """The dedupe window of an event ends."""
        await self.server.delete(keys.seen_key(record_of(number).id))

    async def claim(self, count: int) -> None:
        """A worker takes some jobs."""
        self.claims += (await claimed(self.server, token=f"t:{len(self.steps)}", count=count + 1)).jobs

    async def lapse(self, _number: int) -> None:
        """Every lease lapses, every delay ends."""
        await make_due(self.server, await queued_ids(self.server))

    async def settle(self, number: int, ended: Sequence[Ended], attempts: int) -> None:
        """A run ends; its lease may have passed to another worker long ago."""
        if not self.claims:
            return
        claim = self.claims.pop(number % len(self.claims))
        job = Job.from_bytes(claim.payload or b"")
        names = HANDLERS if job.handler is None else (job.handler,)
        runs = [HandlerRun(name, how, policy=AttemptPolicy(attempts)) for name, how in zip(names, ended, strict=False)]
        await settled(self.server, settlement_of(claim, job, runs, now_ms=0))

    async def put_aside(self, number: int, kind: str) -> None:
        """A claimed job is poison, or cannot be read."""
        if not self.claims:
            return
        claim = self.claims.pop(number % len(self.claims))
        job = Job.from_bytes(claim.payload or b"")
        poison = poison_settlement(claim, job, now_ms=0)
        await settled(self.server, poison if kind == "poison" else unreadable_settlement(claim, error="", now_ms=0))

    async def release(self, number: int) -> None:
        """A worker hands back what it has."""
        if self.claims:
            await queue.release(self.server, [self.claims.pop(number % len(self.claims))])

    async def change(self, number: int, kind: str) -> None:
        """An operator retries or drops some dead letters; twice, as when two of them do it at once."""
        letters = [letter async for letter in dead_letters.list_dead_letters(self.server)][: number + 1]
        for _ in range(2):
            if kind == "retry":
                await dead_letters.retry(self.server, letters)
            else:
                await dead_letters.drop(self.server, letters, retention_ms=RETENTION_MS)

    async def check(self) -> None:
        """Everything is accounted for, by the counts and by what is really there."""
        ledger = await audit(self.server)
        assert ledger.accepted == self.admissions
        assert ledger.balanced, (ledger, self.steps)
        pending = {job_id.split("/")[0] for job_id in await queued_ids(self.server)}
        letters = [letter.id.split("/")[0] async for letter in dead_letters.list_dead_letters(self.server)]
        dead = set(letters) - pending
        assert ledger.pending == len(pending)
        assert ledger.dead - ledger.dropped == len(dead)
        assert ledger.dead_letters == len(letters)
        assert min(ledger.delivered, ledger.dropped) >= 0
        states = {logged.delivery: logged.state async for logged in events(self.server)}
        assert {delivery for delivery, state in states.items() if state == "pending"} == pending
        assert {delivery for delivery, state in states.items() if state == "dead"} == dead


WEIGHTS = {
    "admit": 3,
    "replay": 1,
    "end_window": 1,
    "claim": 6,
    "lapse": 4,
    "settle": 10,
    "release": 1,
    "put_aside": 1,
    "change": 3,
}


def random_step(chance: random.Random) -> tuple[Any, ...]:
    """A step, and what it is about."""
    (name,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    details: dict[str, tuple[Any, ...]] = {
        "settle": (chance.choices(ENDS, (4, 1, 1, 5, 1), k=3), chance.randint(1, 4)),
        "change": (chance.choice(["retry", "retry", "drop"]),),
        "put_aside": (chance.choice(["poison", "missing"]),),
    }
    return name, chance.randint(0, 3), *details.get(name, ())


@pytest.mark.parametrize("seed", range(8))
async def test_the_ledger_balances_after_every_step(server: Server, seed: int) -> None:
    """Whatever happens in whatever order; and the log shows each delivery as what it is."""
    chance = random.Random(seed)
    store = Store(server)
    for _ in range(120):
        store.steps.append(random_step(chance))
        name, *details = store.steps[-1]
        await getattr(store, name)(*details)
        await store.check()
    ledger = await read_ledger(server)
    assert ledger.accepted > 3, "a walk that went nowhere"


async def test_an_empty_store_balances(server: Server) -> None:
    """There is nothing to miss."""
    ledger = await audit(server)
    assert ledger.balanced
    assert (ledger.accepted, ledger.pending, ledger.dead_letters) == (0, 0, 0)


async def test_a_job_without_a_body_is_found(server: Server) -> None:
    """Removed by hand, or by an eviction; the counts alone would not show it."""
    jobs = await admitted(server, 3)
    await server.delete(keys.job_key(jobs[1].id))
    ledger = await audit(server)
    assert ledger.misplaced == (jobs[1].id,)
    assert ledger.difference == 0
    assert not ledger.balanced
    assert (await read_ledger(server)).balanced


async def test_a_lost_job_is_found(server: Server) -> None:
    """Its place in the queue is gone: one event is missing."""
    jobs = await admitted(server, 3)
    await server.zrem(keys.QUEUE, jobs[1].id)
    ledger = await audit(server)
    assert (ledger.difference, ledger.balanced) == (1, False)


async def test_a_job_too_many_is_found(server: Server) -> None:
    """Nobody admitted it."""
    await admitted(server, 1)
    await server.zadd(keys.QUEUE, {"stranger": 1})
    ledger = await audit(server)
    assert (ledger.difference, ledger.misplaced, ledger.balanced) == (-1, ("stranger",), False)


@pytest.mark.parametrize("lost", ["index entry", "letter"])
async def test_half_a_dead_letter_is_found(server: Server, lost: str) -> None:
    """One that no listing shows, or that is listed and gone."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, settlement_of(claim, job, [HandlerRun("h", "unfit")], now_ms=0))
    assert (await audit(server)).balanced
    if lost == "index entry":
        await server.zrem(keys.DEAD_INDEX, f"{job.id}/h")
        found: tuple[str, ...] = (f"{job.id}/h",)
    else:
        await server.hdel(keys.DEAD, f"{job.id}/h")
        found = (job.id, f"{job.id}/h")
    assert (await audit(server)).misplaced == found


async def test_what_is_in_the_log_and_nowhere_else_is_found(server: Server) -> None:
    """By its id, whatever the counters say: the log, the queue, the outcomes and the dead letters are counted apart."""
    jobs = await admitted(server, 5)
    unhandled, done, retrying, dead, lost = jobs
    claims = {claim.job_id: claim for claim in (await claimed(server, token="a")).jobs}
    for job, runs in (
        (unhandled, []),
        (done, [HandlerRun("h", "done")]),
        (retrying, [HandlerRun("h", "failed")]),
        (dead, [HandlerRun("h", "unfit")]),
    ):
        await settled(server, settlement_of(claims[job.id], job, runs, now_ms=0))
    assert (await audit(server)).balanced
    await server.zrem(keys.QUEUE, lost.id)
    await server.delete(keys.job_key(lost.id))
    await server.hincrby(keys.LEDGER, "delivered", 1)
    ledger = await audit(server)
    assert (ledger.difference, ledger.misplaced, ledger.balanced) == (0, (lost.id,), False)
    await server.zrem(keys.QUEUE, f"{retrying.id}/h#2")
    await server.hdel(keys.outcomes_key(done.record.received_at_ms), done.id)
    assert set((await audit(server)).misplaced) == {lost.id, retrying.id, done.id}


async def test_a_replay_for_one_handler_is_found_in_the_queue(server: Server) -> None:
    """Its first job has an id of its own."""
    job = Job.replay(record_of(1)).for_handler("h", attempt=1)
    await admit(server, [job], AdmissionPolicy())
    assert (await audit(server)).balanced
    await server.zrem(keys.QUEUE, job.id)
    assert (await audit(server)).misplaced == (job.delivery,)


async def test_what_is_older_than_its_outcome_is_not_missed(server: Server) -> None:
    """Outcomes end with the retention, and the log is trimmed only when something is admitted."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, delivered(claim))
    await server.delete(keys.delivery_key(job.delivery))
    assert (await audit(server)).misplaced == (job.delivery,)
    assert (await audit(server, retention_ms=30_000)).balanced


async def _again(server: Server, job: Job) -> Job:
    """The event comes once more, two minutes later and after its dedupe window."""
    await server.delete(keys.seen_key(job.record.id))
    again = Job.first(Record.capture(job.record.body.encode(), received_at_ms=job.record.received_at_ms + 120_000))
    assert await admit(server, [again], AdmissionPolicy()) == [True]
    return again


@pytest.mark.parametrize("page", [1, 500], ids=["pages of one", "one page"])
@pytest.mark.parametrize("lost", [False, True])
async def test_of_an_event_that_came_again_the_last_time_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch, page: int, lost: bool
) -> None:
    """What it left behind the first time is not missed once it is replaced, and does not hide that the last is lost."""
    monkeypatch.setattr(audit_module, "PAGE", page)
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    if not lost:  # it was more than its first job: that trace ends when it comes again
        await settled(server, settlement_of(claim, job, [HandlerRun("h", "failed")], now_ms=0))
        await make_due(server, await queued_ids(server))
        (claim,) = (await claimed(server, token="b")).jobs
        job = Job.from_bytes(claim.payload or b"")
    await settled(server, settlement_of(claim, job, [HandlerRun("h", "done")], now_ms=0))
    again = await _again(server, job)
    (claim,) = (await claimed(server, token="c")).jobs
    if lost:
        await server.delete(keys.QUEUE, keys.job_key(again.id))
    else:
        await settled(server, settlement_of(claim, again, [HandlerRun("h", "done")], now_ms=0))
    assert (await audit(server)).misplaced == ((again.delivery,) if lost else ())


async def test_what_is_spooled_counts_once(server: Server) -> None:
    """It is accepted and pending; unless Redis has it as well, because the answer was lost on the way."""
    jobs = await admitted(server, 2)
    (claim, _) = (await claimed(server, token="a")).jobs
    await settled(server, delivered(claim))
    spooled = [*(job.delivery for job in jobs), job_of(7).delivery, job_of(8).delivery, job_of(7).delivery]
    ledger = await audit(server, spooled=spooled)
    assert (ledger.accepted, ledger.delivered, ledger.pending, ledger.spooled) == (4, 1, 3, 2)
    assert ledger.balanced


async def test_a_lost_dead_letter_is_missing(server: Server) -> None:
    """Gone without having been dropped by anybody."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, settlement_of(claim, job, [HandlerRun("h", "unfit")], now_ms=0))
    await server.delete(keys.DEAD, keys.DEAD_INDEX)
    ledger = await audit(server)
    assert (ledger.difference, ledger.balanced) == (1, False)


async def test_many_are_audited_in_pages(server: Server) -> None:
    """Also more than one page of jobs and of letters."""
    jobs = await admitted(server, 1_500)
    claims = (await claimed(server, token="a", count=700)).jobs
    settlements = [
        settlement_of(claim, Job.from_bytes(claim.payload or b""), [HandlerRun("h", "unfit")], now_ms=0)
        for claim in claims
    ]
    await settled(server, *settlements)
    assert (await audit(server)).balanced
    gone = sorted({job.id for job in jobs} - {claim.job_id for claim in claims})[:600]
    await server.delete(*map(keys.job_key, gone))
    hidden = [f"{claim.job_id}/h" for claim in claims[:600]]
    await server.zrem(keys.DEAD_INDEX, *hidden)
    assert sorted((await audit(server)).misplaced) == sorted([*gone, *hidden])
