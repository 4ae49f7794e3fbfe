"""Admission: one Lua script writes a batch of events to the store, durably and without duplicates.

Used by the receiver for every batch (`receiver.group_commit`), and by `konvox-hooks` for import and replay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from broker import keys
from broker.records import Job
from broker.redis.client import outages_as_unavailable
from broker.redis.commands import Argument, Runner, Server
from broker.redis.durability import BY_REPLY, Confirmation
from broker.redis.pipelined import PipelinedConnection
from broker.redis.scripts import Script

BATCH_EVENTS = 512
"""The most events in one batch: bounds how long the script keeps the server busy (about 5 ms)."""

BATCH_BYTES = 4_194_304
"""The most bytes of bodies in one batch, unless it holds a single event."""

_ADMIT: Script[list[int]] = Script("admit")
_KEYS = (keys.QUEUE, keys.LOG, keys.LEDGER, keys.LEASES, keys.IDLE, keys.NEXT_LAPSE)


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """What the operator chose about keeping events.

    Attributes:
        dedupe_seconds: for how long the same event counts as a duplicate.
        log_retention_seconds: for how long the log keeps an event.
        confirmation: what makes a batch durable.
    """

    dedupe_seconds: int = 604_800
    log_retention_seconds: int = 604_800
    confirmation: Confirmation = BY_REPLY


async def admit(server: Server, jobs: Sequence[Job], policy: AdmissionPolicy) -> list[bool]:
    """Write jobs, and return once they are durable: True for each that was accepted, False for a duplicate.

    A replay is never a duplicate.

    Raises:
        BrokerUnavailableError: Redis did not confirm it in time. It may have written it; then a second try finds
            duplicates.
    """
    confirmation = policy.confirmation
    if confirmation.command is None:
        return await _admit_by_reply(server, jobs, policy)
    with outages_as_unavailable():
        arguments = _arguments(jobs, policy)
        answers, confirmed = await _ADMIT.run_and_confirm(server, _KEYS, arguments, confirmation.command)
        confirmation.check(confirmed)
    return [answer == 1 for answer in answers]


async def _admit_by_reply(runner: Runner, jobs: Sequence[Job], policy: AdmissionPolicy) -> list[bool]:
    """The same on a server whose answer says that a batch is durable."""
    with outages_as_unavailable():
        answers = await _ADMIT.run(runner, _KEYS, _arguments(jobs, policy))
    return [answer == 1 for answer in answers]


def _arguments(jobs: Sequence[Job], policy: AdmissionPolicy) -> list[Argument]:
    arguments: list[Argument] = [
        keys.JOB_PREFIX,
        keys.SEEN_PREFIX,
        keys.DELIVERY_PREFIX,
        keys.REPLAYS_PREFIX,
        keys.WAKE_CHANNEL,
        keys.PUSH_PREFIX,
        policy.dedupe_seconds * 1000,
        policy.log_retention_seconds * 1000,
    ]
    for job in jobs:
        arguments += (job.record.id, job.id, job.to_bytes(), 0 if job.replayed else 1)
    return arguments


Write = Callable[[Sequence[Job]], Awaitable[list[bool]]]
"""Makes a batch durable: True for each job that was accepted, False for a duplicate."""


def to_redis(server: Server, policy: AdmissionPolicy) -> Write:
    """What writes batches to Redis; see `admit`."""
    if policy.confirmation.command is None:
        return partial(_admit_by_reply, PipelinedConnection(server), policy=policy)
    # On one connection, Redis would run the next batch only when the one before it is confirmed.
    return partial(admit, server, policy=policy)
