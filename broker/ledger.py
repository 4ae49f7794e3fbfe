"""The ledger: every accepted delivery is delivered, dead or pending, at every moment. Used by `konvox-hooks audit`.

The counts are written by the same scripts that move the events; pending is counted from the queue itself, and dead held
against the dead letters, so that the equation can fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker import keys
from broker.connection import Server

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Ledger:
    """The counts at one moment.

    Attributes:
        accepted: deliveries that were admitted, replays included.
        duplicates: deliveries that were recognised as already admitted; not part of `accepted`.
        delivered: settled, every handler done.
        dead: settled, with at least one dead letter; it waits for an operator, or the operator has dropped it.
        dropped: those of the dead that an operator has dropped.
        pending: not settled: queued, leased or waiting for another attempt.
        dead_letters: how many dead letters there are; several may belong to one delivery.
        misplaced: ids that do not fit: jobs without a body, letters without an index entry or the other way round.
    """

    accepted: int
    duplicates: int
    delivered: int
    dead: int
    dropped: int
    pending: int
    dead_letters: int
    misplaced: tuple[str, ...] = ()

    @property
    def difference(self) -> int:
        """How many accepted deliveries are missing; negative: how many there are too many."""
        return self.accepted - self.delivered - self.dead - self.pending

    @property
    def balanced(self) -> bool:
        """Whether everything accepted is accounted for."""
        return self.difference == 0 and not self.misplaced


async def read_ledger(server: Server) -> Ledger:
    """The counts, read in one transaction, so that they belong to one moment."""
    async with server.pipeline(transaction=True) as transaction:
        transaction.hgetall(keys.LEDGER)
        transaction.zcard(keys.QUEUE)
        transaction.hlen(keys.DEAD)
        raw_counts, jobs, letters = await transaction.execute()
    counts = {name.decode(): int(value) for name, value in raw_counts.items()}
    return Ledger(
        accepted=counts.get("accepted", 0),
        duplicates=counts.get("duplicates", 0),
        delivered=counts.get("delivered", 0),
        # No more than there are letters for: one that is gone without having been dropped is missing.
        dead=min(counts.get("dead", 0), letters) + counts.get("dropped", 0),
        dropped=counts.get("dropped", 0),
        pending=jobs - counts.get("extra", 0),
        dead_letters=letters,
    )


async def audit(server: Server) -> Ledger:
    """The counts, and a look at each queued job and each dead letter: is what it takes to run it really there?"""
    misplaced = await _jobs_without_body(server) + await _misplaced_letters(server)
    return replace(await read_ledger(server), misplaced=tuple(misplaced))


async def _jobs_without_body(server: Server) -> list[str]:
    missing: list[str] = []
    cursor = None
    while cursor != 0:
        cursor, page = await server.zscan(keys.QUEUE, cursor=cursor or 0, count=_PAGE)
        job_ids = [job_id for job_id, _ in page]
        there = await _of_each(server, "EXISTS", [(keys.job_key(job_id.decode()),) for job_id in job_ids])
        suspects = [job_id for job_id, exists in zip(job_ids, there, strict=True) if not exists]
        # A job may be settled between two looks; one that is still queued and has no body is misplaced.
        scores = await _of_each(server, "ZSCORE", [(keys.QUEUE, job_id) for job_id in suspects])
        missing += [job_id.decode() for job_id, score in zip(suspects, scores, strict=True) if score is not None]
    return list(dict.fromkeys(missing))  # a scan may show an entry twice


async def _misplaced_letters(server: Server) -> list[str]:
    async with server.pipeline(transaction=True) as transaction:
        transaction.hkeys(keys.DEAD)
        transaction.zrange(keys.DEAD_INDEX, 0, -1)
        letters, indexed = await transaction.execute()
    return sorted(letter_id.decode() for letter_id in {*letters} ^ {*indexed})


async def _of_each(server: Server, command: str, arguments: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
    """The answers to one command with different arguments, in one round trip a page."""
    answers: list[Any] = []
    for first in range(0, len(arguments), _PAGE):
        pipeline = server.pipeline(transaction=False)
        for each in arguments[first : first + _PAGE]:
            pipeline.execute_command(command, *each)
        answers += await pipeline.execute()
    return answers
