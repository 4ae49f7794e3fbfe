"""Events in: group commit. One Lua script takes what arrived together, or while the batches before were under way.

Used by the receiver for every request, and by the console for import and replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial

from broker import keys
from broker.connection import Server, outages_as_unavailable
from broker.durability import BY_REPLY, Confirmation
from broker.errors import BrokerUnavailableError
from broker.pipe import Pipe
from broker.records import Job
from broker.scripts import Argument, Script

BATCH_EVENTS = 512
"""The most events of one batch: bounds how long the script keeps the server busy (about 5 ms)."""

BATCH_BYTES = 4_194_304
"""The most bytes of the bodies of one batch, unless it holds a single event."""

BATCHES_UNDER_WAY = 4
"""The most batches at a time: enough for the server to have the next at hand, few enough to grow when it is slow."""

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


Verdict = bool | Exception
"""What became of an event: True if it was accepted, False if it is a duplicate, or why it is not known to be kept."""

Told = Callable[[Verdict], None]
"""Is told what became of an event. It must not raise."""

MOST_WAITING = 4 * BATCH_EVENTS
"""How many events may wait for a batch. The server is slower than they come, then, and the next go elsewhere."""


class GroupCommit:
    """Gathers the events of concurrent callers into batches.

    What comes in one turn of the event loop goes out together. Once `BATCHES_UNDER_WAY` are on their way, the next one
    gathers until one of them comes back.

    Args:
        write: makes a batch durable.
        overflow: makes a batch durable elsewhere, when too many wait; without it, they are told that nothing takes
            them.
    """

    def __init__(self, write: Write, *, overflow: Write | None = None) -> None:
        self._write_batch = write
        self._overflow = overflow
        self._waiting: list[tuple[Job, Told]] = []
        self._under_way = 0
        self._overflowing = False
        self._starting = False
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, job: Job, told: Told) -> None:
        """Admit one event; `told` is called once the batch that holds it is durable, or not going to be."""
        if len(self._waiting) >= MOST_WAITING and not self._relieve():
            asyncio.get_running_loop().call_soon(told, BrokerUnavailableError("more events come than can be kept"))
            return
        self._waiting.append((job, told))
        if not self._starting and self._under_way < BATCHES_UNDER_WAY:
            # Not at once: whatever else has arrived by now goes along.
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    async def admit(self, job: Job) -> bool:
        """Admit one event, and wait until the batch that holds it is durable: True if it was accepted; see `admit`."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        def told(outcome: Verdict) -> None:
            if not verdict.done():  # it is done if the caller was cancelled: its client has gone away
                verdict.set_result(outcome)

        self.submit(job, told)
        outcome = await verdict
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def drain(self) -> None:
        """Wait until everything handed in so far has been answered."""
        while self._waiting or self._tasks:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _start(self) -> bool:
        """Send off what may go; whether anything went."""
        self._starting = False
        before = self._under_way
        while self._waiting and self._under_way < BATCHES_UNDER_WAY:
            self._under_way += 1
            self._run(self._commit(self._next_batch()))
        return self._under_way > before

    async def _commit(self, batch: list[tuple[Job, Told]]) -> None:
        verdicts = await self._verdicts(batch, self._write_batch)
        self._under_way -= 1
        if self._start():
            # The next batch goes out before these callers are answered, so that the server need not wait for us: one
            # turn of the loop for its task to begin, one for its bytes to leave.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        _tell(batch, verdicts)

    def _relieve(self) -> bool:
        """Send those that have waited longest elsewhere; whether that is possible."""
        if self._overflow is None or self._overflowing:
            return False
        self._overflowing = True
        self._run(self._commit_elsewhere(self._next_batch(), self._overflow))
        return True

    async def _commit_elsewhere(self, batch: list[tuple[Job, Told]], overflow: Write) -> None:
        verdicts = await self._verdicts(batch, overflow)
        self._overflowing = False
        _tell(batch, verdicts)

    def _run(self, commit: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(commit)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next_batch(self) -> list[tuple[Job, Told]]:
        count = _batch_of(self._waiting)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _verdicts(self, batch: list[tuple[Job, Told]], write: Write) -> Sequence[Verdict]:
        try:
            return await write([job for job, _ in batch])
        except BrokerUnavailableError as outage:
            # Whoever waits behind the batch is told as well: an outage is found once, and not once a batch.
            behind, self._waiting = self._waiting, []
            _tell(behind, [outage] * len(behind))
            return [outage] * len(batch)
        except Exception as fault:  # noqa: BLE001 - whatever it was, each caller must be told, or its request hangs
            return [fault] * len(batch)


def _batch_of(waiting: Sequence[tuple[Job, Told]]) -> int:
    """How many of those that wait make the next batch: at least one."""
    size_bytes = 0
    for count, (job, _) in enumerate(waiting[:BATCH_EVENTS]):
        size_bytes += len(job.record.body)
        if size_bytes > BATCH_BYTES:
            return max(count, 1)
    return min(len(waiting), BATCH_EVENTS)


def _tell(batch: Sequence[tuple[Job, Told]], verdicts: Sequence[Verdict]) -> None:
    for (_, told), verdict in zip(batch, verdicts, strict=True):
        told(verdict)
