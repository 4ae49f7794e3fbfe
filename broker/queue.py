"""The queue with leases: claim, renew, settle, release. Used by the worker only.

The store is arq's: a sorted set of job ids by due time, and a string per job. A lease is a score in the future, so a
stock arq worker leaves leased jobs alone, and the jobs of a dead worker fall due again by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from broker import ids
from broker.errors import MalformedRecordError
from broker.keys import OUTCOMES_MS, Keys
from broker.records import Job
from broker.redis.commands import Argument, BlockingServer, Runner, Server
from broker.redis.pipelined import PipelinedConnection
from broker.redis.scripts import Call, Script, run_together
from broker.untrusted import text_of

# A full Redis must be drained: if these were refused, nothing would ever make room.
_CLAIM: Script[list[Any]] = Script("claim", makes_room=True)
_LEASE: Script[int] = Script("lease", makes_room=True)
_RENEW: Script[list[bytes]] = Script("renew", makes_room=True)
_RECOVER: Script[int] = Script("recover", makes_room=True)
_RELEASE: Script[int] = Script("release", makes_room=True)
_FINISH: Script[list[list[bytes]]] = Script("finish", makes_room=True)


SUSPECT_CRASHES = 2
"""Crashes until a job is a suspect. Most crashes are the machine's, so what crashed once runs with the others."""

_GROUP_JOBS = 1_000
"""As many as Lua can hand to one command, a pair for each."""


class Claimed(NamedTuple):
    """A job that is ours until its lease lapses.

    Attributes:
        job_id: arq's job id.
        token: the fence; only the last claimer's is good.
        crashes: how many workers have died with this job in flight.
        payload: the job as arq keeps it, or None if somebody removed it.
    """

    job_id: str
    token: str
    crashes: int
    payload: bytes | None

    @property
    def suspect(self) -> bool:
        """Whether it has died with its worker so often that it is to run apart from others like it."""
        return self.crashes >= SUSPECT_CRASHES


class StandingClaim(NamedTuple):
    """A claim that waits in Redis for the next admission, which leases events to the worker and pushes them to it.

    It is good for one push; see `broker/lua/admit.lua`.

    Attributes:
        worker: its name, with which and a colon all its tokens start.
        token: the fence for what is pushed.
        jobs: the most to push; 0 to leave no new one.
        stands: whether one stands already, as far as the worker knows.
    """

    worker: str
    token: str
    jobs: int
    stands: bool


class ClaimRequest(NamedTuple):
    """What to claim.

    Attributes:
        jobs: the most to claim; at least 1.
        lease_ms: for how long they are ours without renewal.
        token: the fence for all of them; unique to this claim.
        suspect_wanted: whether a suspect may be taken; it then comes alone.
        standing: what is to stand if nothing is due; one that stands already is withdrawn first if something is.
    """

    jobs: int
    lease_ms: int
    token: str
    suspect_wanted: bool
    standing: StandingClaim | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim brought, and when it is worth asking again.

    Attributes:
        jobs: what is ours now.
        next_due_ms: 0 if more is due, the ms until the next job falls due, or None if the queue is empty.
        claim_stands: whether events may be pushed to the worker.
        suspect_waits: whether there is a suspect that no worker has taken.
    """

    jobs: list[Claimed]
    next_due_ms: int | None
    claim_stands: bool = False
    suspect_waits: bool = False


@dataclass(slots=True)
class Settlement:
    """How a claimed job ended: what to write about it, and what takes its place. All of it is written, or nothing.

    Attributes:
        claim: the job.
        delivery: the delivery that it belongs to.
        outcomes: JSON by handler name.
        follow_ups: jobs that take its place, each with its delay in ms.
        dead_letters: JSON by dead letter id.
        received_at_ms: when the event was received, if this is the first job of its delivery.
        unreadable: whether the job is none of ours; then its event may never have been admitted.
    """

    claim: Claimed
    delivery: str
    outcomes: dict[str, bytes] = field(default_factory=dict)
    follow_ups: list[tuple[Job, int]] = field(default_factory=list)
    dead_letters: dict[str, bytes] = field(default_factory=dict)
    received_at_ms: int | None = None
    unreadable: bool = False


async def claim(pipe: PipelinedConnection, request: ClaimRequest) -> Claims:
    """Claim due jobs."""
    [answer] = await run_together(pipe, _claim_call(pipe.our_keys, request))
    return _claims(request, answer)


def _claim_call(keys: Keys, request: ClaimRequest) -> Call:
    return _CLAIM, (*_lease_keys(keys), keys.idle), _claim_arguments(keys, request)


def _claim_arguments(keys: Keys, request: ClaimRequest) -> Sequence[Argument]:
    suspects = SUSPECT_CRASHES, int(request.suspect_wanted)
    arguments = (keys.job_prefix, request.jobs, request.lease_ms, request.token, *suspects)
    if request.standing is None:
        return (*arguments, "", "", 0)
    worker, token, jobs, stands = request.standing
    return (*arguments, worker, f"{jobs} {request.lease_ms} {token}" if jobs else "", int(stands))


def _claims(request: ClaimRequest, answer: Sequence[Any]) -> Claims:
    next_due_ms, job_ids, payloads, claim_stands, suspect_waits, *seen = answer
    crashes = seen[0] if seen else [0] * len(job_ids)
    jobs = [
        Claimed(text_of(job_id), request.token, crashes_seen, payload)
        for job_id, crashes_seen, payload in zip(job_ids, crashes, payloads, strict=True)
    ]
    return Claims(jobs, None if next_due_ms < 0 else next_due_ms, bool(claim_stands), bool(suspect_waits))


def pushed(message: bytes) -> list[Claimed]:
    """What an admission has leased to a worker that had a standing claim.

    The message is one line with the fence and the lengths in bytes of each job's id and payload; then these follow.

    Raises:
        MalformedRecordError: it is none of ours.
    """
    head, _, body = message.partition(b"\n")
    try:
        token, *lengths = head.decode().split()
        parts, start = [], 0
        for length in map(int, lengths):
            parts.append(body[start : start + length])
            start += length
        pairs = zip(parts[::2], parts[1::2], strict=True)
        jobs = [Claimed(text_of(job_id), token, 0, payload) for job_id, payload in pairs]
    except ValueError:
        jobs = []
    if not jobs:
        raise MalformedRecordError("a message on a channel of ours is no push")
    return jobs


async def lease(server: Server, job_id: str, *, token: str, lease_ms: int) -> bool:
    """Lease one due job by its id. False if it is gone, or somebody else's."""
    return bool(await _LEASE.run(server, _lease_keys(server.our_keys), (job_id, token, lease_ms)))


async def settle(server: Runner, settlements: Iterable[Settlement], *, retention_ms: int) -> set[str]:
    """Write how claimed jobs ended.

    Returns:
        The ids of the jobs whose lease had passed to somebody else; nothing was written for those.
    """
    batch = _each_once(settlements)
    answer = await _finish(server, _finish_arguments(server.our_keys, batch, retention_ms))
    return await _fenced(server, batch, answer, retention_ms)


async def settle_and_claim(
    pipe: PipelinedConnection, settlements: Iterable[Settlement], request: ClaimRequest, *, retention_ms: int
) -> tuple[set[str], Claims]:
    """Write how claimed jobs ended, and claim others in the same round trip.

    Returns:
        As of `settle` and `claim`.
    """
    batch = _each_once(settlements)
    answer, claimed = await run_together(
        pipe,
        (_FINISH, _finish_keys(pipe.our_keys), _finish_arguments(pipe.our_keys, batch, retention_ms)),
        _claim_call(pipe.our_keys, request),
    )
    return await _fenced(pipe, batch, answer, retention_ms), _claims(request, claimed)


def _each_once(settlements: Iterable[Settlement]) -> list[Settlement]:
    """One settlement for each claim; of a job that was claimed twice there may be two, of which one is fenced."""
    return list({(settlement.claim.job_id, settlement.claim.token): settlement for settlement in settlements}.values())


def _lease_keys(keys: Keys) -> Sequence[str]:
    return keys.queue, keys.leases, keys.crashes, keys.suspects, keys.next_lapse


def _finish_keys(keys: Keys) -> Sequence[str]:
    return keys.queue, keys.leases, keys.crashes, keys.ledger, keys.dead, keys.dead_index


async def _finish(server: Runner, arguments: Sequence[Argument]) -> list[list[bytes]]:
    return await _FINISH.run(server, _finish_keys(server.our_keys), arguments)


def _finish_arguments(keys: Keys, settlements: Iterable[Settlement], retention_ms: int) -> list[Argument]:
    groups: dict[tuple[str, int], list[Settlement]] = {}
    others: list[Argument] = []
    for settlement in settlements:
        if settlement.received_at_ms is None or settlement.follow_ups or settlement.dead_letters:
            others += _in_full(keys, settlement)
        else:
            of_one_claim = (settlement.claim.token, settlement.received_at_ms // OUTCOMES_MS)
            groups.setdefault(of_one_claim, []).append(settlement)
    pages = [
        group[first : first + _GROUP_JOBS] for group in groups.values() for first in range(0, len(group), _GROUP_JOBS)
    ]
    arguments: list[Argument] = [keys.job_prefix, keys.delivery_prefix, retention_ms, len(pages)]
    for page in pages:
        arguments += (page[0].claim.token, keys.outcomes_key(page[0].received_at_ms or 0), len(page))
        arguments += [settlement.claim.job_id for settlement in page]
        arguments += [_together(settlement.outcomes) for settlement in page]
    return arguments + others


async def _fenced(
    server: Runner, batch: Sequence[Settlement], answer: Sequence[list[bytes]], retention_ms: int
) -> set[str]:
    """The fenced ones of a batch, once also those are written that left a trace before and have to be given in full."""
    fenced, with_trace = (set(map(text_of, job_ids)) for job_ids in answer)
    if with_trace:
        keys = server.our_keys
        arguments: list[Argument] = [keys.job_prefix, keys.delivery_prefix, retention_ms, 0]
        for settlement in batch:
            if settlement.claim.job_id in with_trace:
                arguments += _in_full(keys, settlement)
        again, _ = await _finish(server, arguments)
        fenced |= set(map(text_of, again))
    return fenced


def renew(server: BlockingServer, claims: Iterable[Claimed], *, lease_ms: int) -> set[str]:
    """Renew leases, from a thread of its own. Returns the ids of the jobs that are no longer ours."""
    keys, arguments = server.our_keys, [lease_ms, *_pairs(claims)]
    lost = _RENEW.run_blocking(server, (keys.queue, keys.leases, keys.next_lapse), arguments)
    return set(map(text_of, lost))


async def recover(server: Server, claims: Iterable[Claimed], *, worker: str, lease_ms: int) -> int:
    """Renew all that a worker knows it holds, release all else that it holds, and withdraw its standing claim.

    Args:
        server: Redis.
        claims: what it holds.
        worker: its name, with which and a colon its tokens start, and no other worker's.
        lease_ms: for how long the renewed ones are ours.

    Returns:
        How many were released; neither an attempt nor a crash is counted for those.
    """
    arguments: list[Argument] = [worker, lease_ms, *(claimed.job_id for claimed in claims)]
    keys = server.our_keys
    return await _RECOVER.run(server, (keys.queue, keys.leases, keys.idle, keys.next_lapse), arguments)


async def release(server: Server, claims: Iterable[Claimed]) -> int:
    """Release jobs at once without using an attempt. Returns how many were still ours."""
    keys = server.our_keys
    return await _RELEASE.run(server, (keys.queue, keys.leases), [keys.wake_channel, *_pairs(claims)])


def _together(outcomes: Mapping[str, bytes]) -> bytes:
    """The outcomes of all handlers as one JSON object; each of them is JSON already."""
    return b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(handler), outcome) for handler, outcome in outcomes.items())


def _in_full(keys: Keys, settlement: Settlement) -> list[Argument]:
    arguments: list[Argument] = [settlement.claim.job_id, settlement.claim.token, settlement.delivery]
    event_id = ids.event_of(settlement.delivery)
    arguments += (keys.seen_key(event_id), keys.replays_key(event_id)) if settlement.unreadable else ("", "")
    arguments.append(len(settlement.outcomes))
    for handler, outcome in settlement.outcomes.items():
        arguments += (handler, outcome)
    arguments.append(len(settlement.follow_ups))
    for job, delay_ms in settlement.follow_ups:
        arguments += (job.id, job.to_bytes(), delay_ms)
    arguments.append(len(settlement.dead_letters))
    for letter_id, letter in settlement.dead_letters.items():
        arguments += (letter_id, letter)
    return arguments


def release_blocking(server: BlockingServer, claims: Iterable[Claimed]) -> int:
    """The same as `release`, from a thread of its own."""
    keys = server.our_keys
    return _RELEASE.run_blocking(server, (keys.queue, keys.leases), [keys.wake_channel, *_pairs(claims)])


def _pairs(claims: Iterable[Claimed]) -> list[Argument]:
    return [part for claimed in claims for part in (claimed.job_id, claimed.token)]
