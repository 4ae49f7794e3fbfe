"""Events in: group commit. One Lua script takes all that arrived while the last one was under way.

Used by the receiver for every request, and by the console for import and replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from broker import keys
from broker.connection import Server, outages_as_unavailable
from broker.durability import BY_REPLY, Confirmation
from broker.errors import BrokerUnavailableError
from broker.records import Job
from broker.scripts import Argument, Script

BATCH_EVENTS = 512
"""The most events of one batch: bounds how long the script keeps the server busy (about 5 ms)."""

_ADMIT = Script("admit")
_KEYS = (keys.QUEUE, keys.LOG, keys.LEDGER)


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


async def admit(server: Server, jobs: Sequence[Job], policy: AdmissionPolicy) -> list[bool]:
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
    return partial(admit, server, policy=policy)


class GroupCommit:
    """Gathers the events of concurrent callers into batches, one batch under way at a time.

    Args:
        write: makes a batch durable.
    """

    def __init__(self, write: Write) -> None:
        self._write_batch = write
        self._waiting: list[tuple[Job, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def admit(self, job: Job) -> bool:
        """Admit one event; see `admit`. Returns once the batch that holds it is durable."""
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, verdict))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return await verdict

    async def drain(self) -> None:
        """Wait until everything handed in so far has been answered."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_EVENTS], self._waiting[BATCH_EVENTS:]
                try:
                    accepted = await self._write_batch([job for job, _ in batch])
                except BrokerUnavailableError as outage:
                    # Whoever waits behind the batch is told as well: an outage is found once, and not once a batch.
                    behind, self._waiting = self._waiting, []
                    _tell([*batch, *behind], outage)
                except Exception as fault:  # noqa: BLE001 - whatever it was, each caller must be told, or its request hangs
                    _tell(batch, fault)
                else:
                    for (_, verdict), answer in zip(batch, accepted, strict=True):
                        if not verdict.done():  # it is done if the caller was cancelled: its client has gone away
                            verdict.set_result(answer)
        finally:
            self._writer = None


def _tell(waiting: Iterable[tuple[Job, asyncio.Future[bool]]], error: Exception) -> None:
    for _, verdict in waiting:
        if not verdict.done():
            verdict.set_exception(error)
