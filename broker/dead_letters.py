"""Dead letters: work that was given up, and is kept until an operator retries or drops it.

The worker writes them when it settles a job; `konvox-hooks dead` lists, retries and drops them.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

import orjson
from pydantic import TypeAdapter, ValidationError

from broker import ids
from broker.errors import MalformedRecordError
from broker.records import LATEST_MS, Job
from broker.redis.commands import Argument, Server
from broker.redis.scripts import Script
from broker.untrusted import or_empty, text_of

Reason = Literal["attempts", "poison", "unfit", "missing"]
"""Why: no attempts left; killed its worker too often; does not fit its model; its job is gone or cannot be read."""

_RETRY: Script[int] = Script("dead_retry")
_DROP: Script[int] = Script("dead_drop")
_PAGE = 200


_BASE64 = "base64:"
_UNREADABLE = "a dead letter in Redis cannot be read"


def job_text(payload: bytes) -> str:
    """What was queued, as a letter keeps it: as text, or as `base64:` and its bytes where it is no text."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return _BASE64 + base64.b64encode(payload).decode()


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
        job: the job as arq keeps it, for a retry; see `job_text`.
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
    def from_bytes(cls, payload: bytes) -> DeadLetter:
        """Read a letter as Redis has it.

        Raises:
            MalformedRecordError: it is none of ours.
        """
        try:
            letter = _LETTER.validate_json(payload, strict=True)
        except ValidationError as error:
            place = error.errors(include_url=False, include_context=False)[0]["loc"]
            raise MalformedRecordError(f"{_UNREADABLE}: {'.'.join(map(str, place)) or 'not JSON'}") from None
        if not 0 <= letter.died_at_ms <= LATEST_MS:
            raise MalformedRecordError(f"{_UNREADABLE}: died_at_ms")
        return letter

    @classmethod
    def unreadable(cls, letter_id: str, payload: bytes, error: str) -> Self:
        """What stands in the place of a letter that is none of ours: so that it is seen, and can be dropped."""
        event_id = ids.event_of(ids.delivery_of(letter_id))
        return cls(letter_id, event_id, "", None, "missing", error, "", 0, 0, job_text(payload))


_LETTER = TypeAdapter(DeadLetter)


async def list_dead_letters(server: Server, *, limit: int | None = None) -> AsyncIterator[DeadLetter]:
    """The dead letters, newest first."""
    position, keys = 0, server.our_keys
    while limit is None or position < limit:
        last = position + _PAGE - 1 if limit is None else min(position + _PAGE, limit) - 1
        letter_ids = await or_empty(server.zrevrange(keys.dead_index, position, last), [])
        if not letter_ids:
            return
        payloads = await or_empty(server.hmget(keys.dead, letter_ids), [])
        for letter_id, payload in zip(letter_ids, payloads, strict=False):
            if payload is not None:
                yield _read(letter_id, payload)
        position += _PAGE


async def find_dead_letters(server: Server, wanted: str) -> list[DeadLetter]:
    """The dead letter of that id, or all letters of the event of that id."""
    payload = await or_empty(server.hget(server.our_keys.dead, wanted), None)
    if payload is not None:
        return [_read(wanted.encode(), payload)]
    return [
        letter async for letter in list_dead_letters(server) if wanted in {letter.event_id, ids.delivery_of(letter.id)}
    ]


async def count_dead_letters(server: Server) -> int:
    """How many dead letters there are."""
    return int(await server.execute_command("ZCARD", server.our_keys.dead_index))


def _read(letter_id: bytes, payload: bytes) -> DeadLetter:
    name = ids.readable(text_of(letter_id))
    try:
        letter = DeadLetter.from_bytes(payload)
    except MalformedRecordError as fault:
        return DeadLetter.unreadable(name, payload, str(fault))
    return letter if letter.id == name else DeadLetter.unreadable(name, payload, f"{_UNREADABLE}: id")


async def retry(server: Server, letters: Sequence[DeadLetter], *, heir: str | None = None) -> int:
    """Turn letters into jobs again, which have all their attempts. Returns how many letters were still there.

    Args:
        server: Redis.
        letters: what to run again.
        heir: a handler that takes the place of the one that failed.
    """
    keys = server.our_keys
    arguments: list[Argument] = [keys.job_prefix, keys.delivery_prefix, keys.wake_channel]
    for letter in letters:
        job = Job.from_bytes(letter.job.encode())
        handler = job.handler or heir
        if handler is not None:
            job = job.for_handler(handler, attempt=1)
        if heir is not None:
            job = job.for_heir(heir)
        arguments += (letter.id, job.delivery, job.id, job.to_bytes())
    return await _RETRY.run(server, (keys.queue, keys.ledger, keys.dead, keys.dead_index), arguments)


async def drop(server: Server, letters: Sequence[DeadLetter], *, retention_ms: int) -> int:
    """Remove letters, as an operator asked. The ledger counts them. Returns how many were still there.

    Args:
        server: Redis.
        letters: what to remove.
        retention_ms: for how long the outcomes of settled deliveries are kept.
    """
    keys = server.our_keys
    arguments: list[Argument] = [keys.delivery_prefix, retention_ms]
    for letter in letters:
        arguments += (letter.id, ids.delivery_of(letter.id))
    return await _DROP.run(server, (keys.ledger, keys.dead, keys.dead_index), arguments)
