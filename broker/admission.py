"""Admission: one Lua script writes a batch of accepted events to the store, durably and without duplicates.

Used by the receiver for every batch (`receiver.group_commit`), and by `konvox-hooks` for import and replay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from broker import keys
from broker.records import Job
from broker.redis.client import Server, outages_as_unavailable
from broker.redis.durability import BY_REPLY, Confirmation
from broker.redis.pipelined import Pipe
from broker.redis.scripts import Argument, Script

BATCH_EVENTS = 512
"""The most events of one batch: bounds how long the script keeps the server busy (about 5 ms)."""

BATCH_BYTES = 4_194_304
"""The most bytes of the bodies of one batch, unless it holds a single event."""

_ADMIT = Script("admit")
_KEYS = (keys.QUEUE, keys.LOG, keys.LEDGER, keys.LEASES, keys.IDLE)


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """What the operator chose about keeping events.

    Attributes:
        dedupe_seconds: for how long the same event is taken for a duplicate.
        log_retention_seconds: for how long an event can be looked up in the log.
        confirmation: what makes a batch durable.
    """

    dedupe_seconds: int = 604_800
    log_retention_seconds: int = 604_800
    confirmation: Confirmation = BY_REPLY


async def admit(server: Server | Pipe, jobs: Sequence[Job], policy: AdmissionPolicy) -> list[bool]:
    """Write jobs, and return once they are durable: True for each that was accepted, False for a duplicate.

    A replay is never a duplicate.

    Raises:
        BrokerUnavailableError: Redis did not confirm it in time. It may have been written all the same; a second
            try then finds a duplicate.
    """
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
    confirmation = policy.confirmation
    with outages_as_unavailable():
        if confirmation.command is None:
            answers = await _ADMIT.run(server, _KEYS, arguments)
        else:
            answers, confirmed = await _ADMIT.run_and_confirm(server, _KEYS, arguments, confirmation.command)
            confirmation.check(confirmed)
    return [answer == 1 for answer in answers]


Write = Callable[[Sequence[Job]], Awaitable[list[bool]]]
"""Makes a batch durable: True for each job that was accepted, False for a duplicate. `to_redis`, or what wraps it."""


def to_redis(server: Server, policy: AdmissionPolicy) -> Write:
    """Write batches to Redis; see `admit`."""
    if policy.confirmation.command is None:
        return partial(admit, Pipe(server), policy=policy)
    # On one connection the next batch would be run only when the one before it is confirmed.
    return partial(admit, server, policy=policy)
