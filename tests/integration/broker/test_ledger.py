"""The ledger: `accepted = delivered + dead + pending` after every step, also with events in a spool."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from broker import dead_letters, ids, queue
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.event_log import events
from broker.ledger import read_ledger
from broker.queue import Claimed
from broker.records import Job
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
from tests.support.store import KEYS, RedisClient
from worker.running.verdicts import AttemptPolicy, HandlerRun, poison_settlement, settlement_of, unreadable_settlement

HANDLERS = ("a", "b", "c")

Ended = Literal["done", "skipped", "dropped", "failed", "unfit"]
ENDS: tuple[Ended, ...] = ("done", "skipped", "dropped", "failed", "unfit")


@dataclass
class Store:
    """What happens to a store, step by step, with the claims that are out, lapsed ones included."""

    server: RedisClient
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
        await self.server.delete(KEYS.seen_key(record_of(number).id))

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
        """A worker releases what it has."""
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
        pending = {ids.delivery_of(job_id) for job_id in await queued_ids(self.server)}
        letters = [ids.delivery_of(letter.id) async for letter in dead_letters.list_dead_letters(self.server)]
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
async def test_the_ledger_balances_after_every_step(server: RedisClient, seed: int) -> None:
    """After any steps in any order the ledger balances, and the log shows each delivery in its true state."""
    chance = random.Random(seed)
    store = Store(server)
    for _ in range(120):
        store.steps.append(random_step(chance))
        name, *details = store.steps[-1]
        await getattr(store, name)(*details)
        await store.check()
    ledger = await read_ledger(server)
    assert ledger.accepted > 3, "a walk that went nowhere"


async def test_an_empty_store_balances(server: RedisClient) -> None:
    """The ledger of an empty store balances, with nothing in it."""
    ledger = await audit(server)
    assert ledger.balanced
    assert (ledger.accepted, ledger.pending, ledger.dead_letters) == (0, 0, 0)


async def test_what_is_spooled_counts_once(server: RedisClient) -> None:
    """A spooled event is accepted and pending, and counts once if Redis has it already."""
    jobs = await admitted(server, 2)
    (claim, _) = (await claimed(server, token="a")).jobs
    await settled(server, delivered(claim))
    spooled = [*(job.delivery for job in jobs), job_of(7).delivery, job_of(8).delivery, job_of(7).delivery]
    ledger = await audit(server, spooled=spooled)
    assert (ledger.accepted, ledger.delivered, ledger.pending, ledger.spooled) == (4, 1, 3, 2)
    assert ledger.balanced


async def test_a_lost_dead_letter_is_missing(server: RedisClient) -> None:
    """A dead letter that is gone without having been dropped is missing."""
    (job,) = await admitted(server, 1)
    (claim,) = (await claimed(server, token="a")).jobs
    await settled(server, settlement_of(claim, job, [HandlerRun("h", "unfit")], now_ms=0))
    await server.delete(KEYS.dead, KEYS.dead_index)
    ledger = await audit(server)
    assert (ledger.difference, ledger.balanced) == (1, False)
