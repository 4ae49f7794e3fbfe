"""Admission: one Lua script writes a batch of events to the store, durably and without duplicates.

Used by the receiver for every batch (`receiver.group_commit`), and by `konvox-hooks` for import and replay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from broker.keys import Keys
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
        answers, confirmed = await _ADMIT.run_and_confirm(
            server, _keys(server.our_keys), _arguments(server.our_keys, jobs, policy), confirmation.command
        )
        confirmation.check(confirmed)
    return [answer == 1 for answer in answers]


async def _admit_by_reply(runner: Runner, jobs: Sequence[Job], policy: AdmissionPolicy) -> list[bool]:
    """The same on a server whose answer says that a batch is durable."""
    with outages_as_unavailable():
        answers = await _ADMIT.run(runner, _keys(runner.our_keys), _arguments(runner.our_keys, jobs, policy))
    return [answer == 1 for answer in answers]


def _keys(keys: Keys) -> Sequence[str]:
    return keys.queue, keys.log, keys.ledger, keys.leases, keys.idle, keys.next_lapse


def _arguments(keys: Keys, jobs: Sequence[Job], policy: AdmissionPolicy) -> list[Argument]:
    arguments: list[Argument] = [
        keys.job_prefix,
        keys.seen_prefix,
        keys.delivery_prefix,
        keys.replays_prefix,
        keys.wake_channel,
        keys.push_prefix,
        policy.dedupe_seconds * 1000,
        policy.log_retention_seconds * 1000,
    ]
    for job in jobs:
        own = job if keys.is_default else job.in_delivery(keys.delivery_id(job.delivery))
        arguments += (own.record.id, own.id, own.to_bytes(), 0 if own.replayed else 1)
    return arguments


Write = Callable[[Sequence[Job]], Awaitable[list[bool]]]
"""Makes a batch durable: True for each job that was accepted, False for a duplicate."""


def to_redis(server: Server, policy: AdmissionPolicy) -> Write:
    """What writes batches to Redis; see `admit`."""
    if policy.confirmation.command is None:
        return partial(_admit_by_reply, PipelinedConnection(server), policy=policy)
    # On one connection, Redis would run the next batch only when the one before it is confirmed.
    return partial(admit, server, policy=policy)
