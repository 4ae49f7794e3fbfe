"""Dead letters: work that was given up, and is kept until an operator retries or drops it.

The worker writes them when it settles a job; `konvox-hooks dead` lists, retries and drops them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

import orjson

from broker import ids, keys
from broker.records import Job
from broker.redis.commands import Argument, Server
from broker.redis.scripts import Script

Reason = Literal["attempts", "poison", "unfit", "missing"]
"""Why: no attempts left; killed its worker too often; does not fit its model; its job is gone or cannot be read."""

_RETRY: Script[int] = Script("dead_retry")
_DROP: Script[int] = Script("dead_drop")
_PAGE = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One piece of work that was given up.

    Attributes:
        id: see `broker.ids`.
        event_id: `evt_…`.
        event_type: the event's name.
        handler: the handler that failed, or None where the event as a whole was given up.
        reason: see `Reason`.
        error: the last error in one line.
        traceback: the last traceback, as text.
        attempts: how many attempts the handler had.
        died_at_ms: when, in Unix milliseconds of the worker's clock.
        job: the job as arq keeps it, for a retry.
    """

    id: str
    event_id: str
    event_type: str
    handler: str | None
    reason: Reason
    error: str
    traceback: str
    attempts: int
    died_at_ms: int
    job: str

    def to_bytes(self) -> bytes:
        """The letter as Redis has it."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read a letter as Redis has it."""
        return cls(**orjson.loads(payload))


async def list_dead_letters(server: Server, *, limit: int | None = None) -> AsyncIterator[DeadLetter]:
    """The dead letters, newest first."""
    position = 0
    while limit is None or position < limit:
        last = position + _PAGE - 1 if limit is None else min(position + _PAGE, limit) - 1
        ids = await server.zrevrange(keys.DEAD_INDEX, position, last)
        if not ids:
            return
        for payload in await server.hmget(keys.DEAD, ids):
            if payload is not None:
                yield DeadLetter.from_bytes(payload)
        position += _PAGE


async def find_dead_letters(server: Server, wanted: str) -> list[DeadLetter]:
    """The dead letter of that id, or all letters of the event of that id."""
    payload = await server.hget(keys.DEAD, wanted)
    if payload is not None:
        return [DeadLetter.from_bytes(payload)]
    return [
        letter async for letter in list_dead_letters(server) if wanted in {letter.event_id, ids.delivery_of(letter.id)}
    ]


async def count_dead_letters(server: Server) -> int:
    """How many dead letters there are."""
    return int(await server.execute_command("ZCARD", keys.DEAD_INDEX))


async def retry(server: Server, letters: Sequence[DeadLetter], *, heir: str | None = None) -> int:
    """Turn letters into jobs again, which have all their attempts. Returns how many letters were still there.

    Args:
        server: Redis.
        letters: what to run again.
        heir: a handler that takes the place of the one that failed.
    """
    arguments: list[Argument] = [keys.JOB_PREFIX, keys.DELIVERY_PREFIX, keys.WAKE_CHANNEL]
    for letter in letters:
        job = Job.from_bytes(letter.job.encode())
        handler = job.handler or heir
        if handler is not None:
            job = job.for_handler(handler, attempt=1)
        if heir is not None:
            job = job.for_heir(heir)
        arguments += (letter.id, job.delivery, job.id, job.to_bytes())
    return await _RETRY.run(server, (keys.QUEUE, keys.LEDGER, keys.DEAD, keys.DEAD_INDEX), arguments)


async def drop(server: Server, letters: Sequence[DeadLetter], *, retention_ms: int) -> int:
    """Remove letters, as an operator asked. The ledger counts them. Returns how many were still there.

    Args:
        server: Redis.
        letters: what to remove.
        retention_ms: for how long the outcomes of settled deliveries are kept.
    """
    arguments: list[Argument] = [keys.DELIVERY_PREFIX, retention_ms]
    for letter in letters:
        arguments += (letter.id, ids.delivery_of(letter.id))
    return await _DROP.run(server, (keys.LEDGER, keys.DEAD, keys.DEAD_INDEX), arguments)
