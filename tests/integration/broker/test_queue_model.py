"""The queue against a model of it: whatever workers, crashes and operators do, nothing is lost, doubled or stuck.

Forty histories in each run of the suite; for thousands: `pytest --hypothesis-profile thorough --timeout 0`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker import dead_letters, queue
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.dead_letters import DeadLetter
from broker.queue import Claimed, ClaimRequest, Settlement, StandingClaim
from broker.records import Job
from broker.redis.client import close
from broker.redis.commands import Message
from broker.redis.pipelined import PipelinedConnection
from tests.support.events import LEASE_MS, RETENTION_MS, job_of, record_of
from tests.support.queue_model import ModelClaim, QueuedJob, QueueModel
from tests.support.store import KEYS, connect, connect_blocking
from tests.support.valkey import ValkeyServer
from worker.running.verdicts import CRASH_LIMIT, AttemptPolicy, HandlerRun, poison_settlement, settlement_of

T = TypeVar("T")

HANDLERS = ("a", "b")
LATER_SECONDS = 3600.0
LATE_EVENT = 4
FIRST_IN_LINE = 10**11

workers = st.sampled_from(["left", "right"])
events = st.integers(0, 3)
picks = st.integers(0, 10)
ends = st.sampled_from(["done", "failed", "failed", "skipped", "dropped", "unfit"])


class QueueMachine(RuleBasedStateMachine):
    """Workers, receivers and operators, at random; the queue on Valkey and the model must agree after every step."""

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self.model = QueueModel()
        self.claims: dict[str, list[Claimed]] = {"left": [], "right": []}
        self.claims_made = 0
        self.replays_made = 0
        self.runner = asyncio.Runner(debug=False)  # each step is short, and there are many
        self.server = connect(redis_url)
        self.blocking = connect_blocking(redis_url)
        self.blocking.flushdb()
        self.ears = self.blocking.pubsub()
        self.listen()

    def do(self, awaitable: Awaitable[T]) -> T:
        """Carry out what is asynchronous."""

        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    def keep_time(self) -> None:
        """Give what is due its number in Redis as well, and keep away the moment of what is not."""
        scores = {job_id: score_of(job) for job_id, job in self.model.jobs.items()}
        if scores:
            self.blocking.zadd(KEYS.queue, scores, xx=True)
        if self.model.lapsed():
            self.blocking.set(KEYS.next_lapse, 1)

    def listen(self) -> None:
        """The left worker has standing claims, and hears what is pushed to it."""
        self.ears.subscribe(KEYS.push_channel("left"))
        assert self.next_message()["type"] == "subscribe"

    def next_message(self) -> Message:
        """What the left worker hears next."""
        message = self.ears.get_message(timeout=5)
        assert message is not None
        return message

    def come_in(self, jobs: Sequence[Job], *, hears: bool) -> None:
        """Admit a batch, and take what is pushed; or the message is lost on its way."""
        expected = [self.model.admit(job) for job in jobs]
        pushed = self.model.push([job for job, accepted in zip(jobs, expected, strict=True) if accepted])
        assert self.do(admit(self.server, jobs, AdmissionPolicy())) == expected
        self.keep_time()
        if pushed:
            taken = queue.pushed(self.next_message()["data"])
            assert [claim.job_id for claim in taken] == pushed
            if hears:
                self.claims["left"] += taken

    def token(self, worker: str) -> str:
        """The fence of the next claim."""
        self.claims_made += 1
        return f"{worker}:{self.claims_made}"

    @initialize(numbers=st.just([0, 1, 2, 3]))
    def a_burst_comes_in(self, numbers: list[int]) -> None:
        """Where most histories begin."""
        self.events_come_in(numbers, hears=True)

    @rule(numbers=st.lists(events, min_size=1, max_size=4), hears=st.sampled_from([True, True, False]))
    def events_come_in(self, numbers: list[int], hears: bool) -> None:
        """New ones and copies, in one batch."""
        self.come_in([job_of(number) for number in numbers], hears=hears)

    @rule(number=events, how=st.sampled_from(["replay", "end of the dedupe window"]))
    def an_event_may_come_again(self, number: int, how: str) -> None:
        """An operator sends it once more; or the next copy is a new event, if this one is settled by then."""
        record = record_of(number)
        if how == "replay":
            self.replays_made += 1
            job = Job(record, delivery=f"{record.id}~{self.replays_made}", replayed=True)
            self.come_in([job], hears=True)
        else:
            self.model.seen.discard(record.id)
            self.blocking.delete(KEYS.seen_key(record.id))

    @rule(
        worker=workers,
        count=st.integers(1, 4),
        suspect_wanted=st.sampled_from([True, True, False]),
        answered=st.sampled_from([1, 1, 1, 0]),
    )
    def a_worker_claims(self, worker: str, count: int, suspect_wanted: bool, answered: bool) -> None:
        """It gets what the model says, in that order; or the connection drops, and it never hears of it."""
        token = self.token(worker)
        expected = self.model.claim(token, count, suspect_wanted=suspect_wanted)
        claims = self.do(
            queue.claim(PipelinedConnection(self.server), ClaimRequest(count, LEASE_MS, token, suspect_wanted))
        )
        assert [(claim.job_id, claim.crashes) for claim in claims.jobs] == expected
        assert all(Job.from_bytes(claim.payload or b"").id == claim.job_id for claim in claims.jobs)
        assert (claims.next_due_ms is None) == (not self.model.jobs)
        assert (claims.next_due_ms == 0) == bool(self.model.due())
        self.keep_time()
        if answered:
            self.claims[worker] += claims.jobs

    @rule(count=st.integers(1, 3))
    def a_worker_leaves_a_standing_claim(self, count: int) -> None:
        """It claims what is due; where nothing is, what comes next is pushed to it."""
        token = self.token("left")
        stands = self.model.standing is not None
        standing = StandingClaim("left", f"left:standing-{self.claims_made}", count, stands)
        expected = self.model.claim_or_stand(token, count, ModelClaim(standing.token, count))
        request = ClaimRequest(count, LEASE_MS, token, suspect_wanted=True, standing=standing)
        claims = self.do(queue.claim(PipelinedConnection(self.server), request))
        assert [(claim.job_id, claim.crashes) for claim in claims.jobs] == expected
        assert claims.claim_stands == (self.model.standing is not None)
        self.keep_time()
        self.claims["left"] += claims.jobs

    @precondition(lambda self: self.model.standing)
    @rule()
    def its_connection_is_lost(self) -> None:
        """Its standing claim is still there, and it does not hear any more; nor does it die, but recovers."""
        self.ears.unsubscribe()
        assert self.next_message()["type"] == "unsubscribe"
        assert self.model.standing is not None
        self.model.standing.heard = False
        self.come_in([job_of(LATE_EVENT)], hears=False)
        self.listen()
        self.something_happens_to_a_worker("left", "recovers")

    @precondition(lambda self: self.model.jobs)
    @rule(worker=workers, pick=picks)
    def a_stock_worker_claims(self, worker: str, pick: int) -> None:
        """One job, by its id, whether it is due or not."""
        job_id = sorted(self.model.jobs)[pick % len(self.model.jobs)]
        token = self.token(worker)
        expected = self.model.lease(job_id, token)
        assert self.do(queue.lease(self.server, job_id, token=token, lease_ms=LEASE_MS)) == expected
        self.keep_time()
        if expected:
            self.claims[worker].append(Claimed(job_id, token, 0, self.blocking.get(KEYS.job_key(job_id))))

    @precondition(lambda self: any(self.claims.values()))
    @rule(worker=workers, how=st.sampled_from(["renews", "recovers", "dies", "stops", "is stopped from a thread"]))
    def something_happens_to_a_worker(self, worker: str, how: str) -> None:
        """It renews its leases; recovers after an outage; dies; releases what it has, and has lost meanwhile."""
        claims = self.claims[worker]
        match how:
            case "renews" if claims:
                expected = self.model.renew(claims)
                assert queue.renew(self.blocking, claims, lease_ms=LEASE_MS) == expected
            case "recovers":
                released_by_model = self.model.recover(f"{worker}:", {claim.job_id for claim in claims})
                self.model.standing = None if worker == "left" else self.model.standing
                recovered = queue.recover(self.server, claims, worker=worker, lease_ms=LEASE_MS)
                assert self.do(recovered) == released_by_model
            case "dies":
                claims.clear()
            case "stops":
                released = self.model.release(claims)
                assert self.do(queue.release(self.server, claims)) == released
                claims.clear()
            case "is stopped from a thread":
                released = self.model.release(claims)
                assert queue.release_blocking(self.blocking, claims) == released
                claims.clear()
        self.keep_time()

    @precondition(lambda self: any(self.claims.values()))
    @rule(worker=workers, pick=picks)
    def leases_pass_on(self, worker: str, pick: int) -> None:
        """A worker is held up for so long that another takes over what it has; it does not know of that."""
        claims = self.claims[worker]
        for claim in claims[pick % 2 :]:
            if self.model.is_held(claim):
                self.model.fall_due(claim.job_id)
        self.keep_time()
        self.a_worker_claims(
            worker="left" if worker == "right" else "right", count=4, suspect_wanted=True, answered=True
        )

    @precondition(lambda self: self.model.waiting())
    @rule(chosen=st.lists(picks, min_size=1, max_size=4))
    def time_goes_by(self, chosen: list[int]) -> None:
        """Leases lapse, although their holders may still be at work, and delays end."""
        waiting = sorted(self.model.waiting())
        for job_id in dict.fromkeys(waiting[pick % len(waiting)] for pick in chosen):
            self.model.fall_due(job_id)
        self.keep_time()

    @precondition(lambda self: any(self.claims.values()))
    @rule(
        chosen=st.lists(st.tuples(workers, picks, st.tuples(ends, ends), st.integers(1, 3)), min_size=1, max_size=4),
        written=st.integers(1, 2),
    )
    def runs_end(self, chosen: list[tuple[str, int, Sequence[Any], int]], written: int) -> None:
        """Done, tried again or given up; several in one batch, some of them fenced, and perhaps written twice."""
        settlements = [
            settlement_for(claims.pop(pick % len(claims)), how, attempts)
            for worker, pick, how, attempts in chosen
            if (claims := self.claims[worker])
        ]
        for _ in range(written):
            fenced = {each.claim.job_id for each in settlements if not self.model.settle(each)}
            assert self.do(queue.settle(self.server, settlements, retention_ms=RETENTION_MS)) == fenced
        self.keep_time()

    @precondition(lambda self: self.model.letters())
    @rule(pick=picks, kind=st.sampled_from(["retry", "retry", "drop"]))
    def an_operator_decides(self, pick: int, kind: str) -> None:
        """A dead letter is retried or dropped; by two operators at once, of whom one is late."""
        letter_id = sorted(self.model.letters())[pick % len(self.model.letters())]
        (letter,) = [each for each in self.do(self.letters()) if each.id == letter_id]
        for _ in range(2):
            if kind == "retry":
                expected = self.model.retry(letter_id, retried(letter))
                assert self.do(dead_letters.retry(self.server, [letter])) == expected
            else:
                expected = self.model.drop(letter_id)
                assert self.do(dead_letters.drop(self.server, [letter], retention_ms=RETENTION_MS)) == expected
        self.keep_time()

    async def letters(self) -> list[DeadLetter]:
        """All dead letters."""
        return [letter async for letter in dead_letters.list_dead_letters(self.server)]

    @invariant()
    def they_agree(self) -> None:
        """On what is queued, who holds it, how often it has crashed, what is dead, and all counts."""
        pipeline = self.blocking.pipeline(transaction=True)
        pipeline.zrange(KEYS.queue, 0, -1)
        pipeline.hgetall(KEYS.leases)
        pipeline.hgetall(KEYS.crashes)
        pipeline.hkeys(KEYS.dead)
        pipeline.zrange(KEYS.suspects, 0, -1)
        pipeline.exists(KEYS.next_lapse)
        queued, leases, crashes, letters, suspects, lapse_noted = pipeline.execute()
        jobs = self.model.jobs
        assert {job_id.decode() for job_id in queued} == set(jobs)
        assert text(leases) == {job_id: job.holder for job_id, job in jobs.items() if job.holder is not None}
        aside = {job.aside: job_id for job_id, job in jobs.items() if job.aside is not None}
        assert [job_id.decode() for job_id in suspects] == [aside[place] for place in sorted(aside)]
        assert lapse_noted or not any(job.holder and job.due is None for job in jobs.values())
        assert text(crashes) == {job_id: str(job.crashes) for job_id, job in jobs.items() if job.crashes}
        assert {letter_id.decode() for letter_id in letters} == self.model.letters()
        ledger = self.do(audit(self.server))
        assert ledger.balanced
        assert {
            name: count for name, count in asdict(ledger).items() if name not in {"misplaced", "spooled"}
        } == self.model.ledger()

    def teardown(self) -> None:
        """In the end one good worker is enough: everything that was accepted is settled, and no lease is left."""
        try:
            self.everything_is_settled()
        finally:
            self.ears.close()
            self.blocking.close()
            self.do(close(self.server))
            self.runner.close()

    def everything_is_settled(self) -> None:
        """Nothing is stuck: each round makes progress, until the queue is empty."""
        rounds = 0
        while self.model.jobs:
            rounds += 1
            assert rounds <= 200, "stuck"
            for job_id in self.model.waiting():
                self.model.fall_due(job_id)
            self.keep_time()
            self.a_worker_claims("left", 4, suspect_wanted=True, answered=True)
            for claim in self.claims["left"]:
                settlement = settlement_for(claim, ("done", "done"), attempts=1)
                fenced = not self.model.settle(settlement)
                assert self.do(queue.settle(self.server, [settlement], retention_ms=RETENTION_MS)) == (
                    {claim.job_id} if fenced else set()
                )
            self.claims["left"].clear()
        self.they_agree()
        assert self.model.ledger()["pending"] == 0
        assert not self.blocking.exists(KEYS.queue, KEYS.leases, KEYS.crashes, KEYS.suspects)


def score_of(job: QueuedJob) -> int:
    """What stands for its place in the queue: first in line, due, or far in the future."""
    if job.due is None:
        return (2**31) * 1000
    return job.due if job.first else FIRST_IN_LINE + job.due


def settlement_for(claim: Claimed, how: Sequence[Any], attempts: int) -> Settlement:
    """What the worker writes when the handlers of a claimed job have ended so, or when it is poison."""
    job = Job.from_bytes(claim.payload or b"")
    if claim.crashes >= CRASH_LIMIT:
        return poison_settlement(claim, job, now_ms=0)
    names: Iterable[str] = HANDLERS if job.handler is None else (job.handler,)
    runs = [
        HandlerRun(name, ended, retry_after_seconds=LATER_SECONDS, policy=AttemptPolicy(attempts))
        for name, ended in zip(names, how, strict=False)
    ]
    return settlement_of(claim, job, runs, now_ms=0)


def retried(letter: DeadLetter) -> Job:
    """The job that a dead letter becomes."""
    job = Job.from_bytes(letter.job.encode())
    return job if job.handler is None else job.for_handler(job.handler, attempt=1)


def text(fields: dict[bytes, bytes]) -> dict[str, str]:
    """A hash of Redis as text."""
    return {name.decode(): value.decode() for name, value in fields.items()}


@pytest.mark.timeout(6 * settings().max_examples)
def test_nothing_is_lost_doubled_or_stuck(tmp_path: Path) -> None:
    """The queue does what the model says, step by step, and in the end everything is settled.

    Its time limit is long enough for hypothesis to shrink a history that fails, which it does for five minutes at most.
    """
    examples = settings().max_examples * 2 // 5  # each is a whole history
    with ValkeyServer(tmp_path, appendonly="no") as valkey:  # thousands of writes, and none of them need last

        class OnThisValkey(QueueMachine):
            def __init__(self) -> None:
                super().__init__(valkey.url())

        run_state_machine_as_test(OnThisValkey, settings=settings(max_examples=examples, stateful_step_count=40))
