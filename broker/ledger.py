"""The ledger: every accepted delivery is delivered, dead or pending, at every moment. Used by `konvox-hooks audit`.

The counts are written by the same scripts that move the events; pending is counted from the queue itself, and dead held
against the dead letters, so that the equation can fail. Besides, each delivery in the log is looked up (`traces`). What
waits in a spool is accepted and pending, unless Redis has it already: its answer may have been lost on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker import keys
from broker.audit import PAGE, untraced
from broker.redis.client import Server


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
        spooled: those of the pending that are in a spool only.
        misplaced: ids that do not fit: deliveries that the log has and nothing else, jobs without a body, letters
            without an index entry or the other way round.
    """

    accepted: int
    duplicates: int
    delivered: int
    dead: int
    dropped: int
    pending: int
    dead_letters: int
    spooled: int = 0
    misplaced: tuple[str, ...] = ()

    @property
    def difference(self) -> int:
        """How many accepted deliveries are missing; negative: how many there are too many."""
        return self.accepted - self.delivered - self.dead - self.pending

    @property
    def balanced(self) -> bool:
        """Whether everything accepted is accounted for."""
        return self.difference == 0 and not self.misplaced


async def read_ledger(server: Server, *, spooled: Collection[str] = ()) -> Ledger:
    """The counts, read in one transaction, so that they belong to one moment.

    Args:
        server: Server.
        spooled: the deliveries in the spools; read before this is called, or one may be missed that is just drained.
    """
    # Looked at twice: what has arrived is left out first, so that the transaction keeps the server busy for less.
    unknown = await _not_in_redis(server, list(dict.fromkeys(spooled)))
    async with server.pipeline(transaction=True) as transaction:
        transaction.hgetall(keys.LEDGER)
        transaction.zcard(keys.QUEUE)
        transaction.hlen(keys.DEAD)
        for delivery in unknown:
            _ask_whether_known(transaction, delivery)
        raw_counts, jobs, letters, *known = await transaction.execute()
    in_spool_only = len(_unknown(unknown, known))
    counts = {name.decode(): int(value) for name, value in raw_counts.items()}
    return Ledger(
        accepted=counts.get("accepted", 0) + in_spool_only,
        duplicates=counts.get("duplicates", 0),
        delivered=counts.get("delivered", 0),
        # No more than there are letters for: one that is gone without having been dropped is missing.
        dead=min(counts.get("dead", 0), letters) + counts.get("dropped", 0),
        dropped=counts.get("dropped", 0),
        pending=jobs - counts.get("extra", 0) + in_spool_only,
        dead_letters=letters,
        spooled=in_spool_only,
    )


async def audit(server: Server, *, spooled: Collection[str] = (), retention_ms: int = 604_800_000) -> Ledger:
    """The counts, and a look at each delivery in the log, each queued job and each dead letter: is it all there?

    Args:
        server: Server.
        spooled: see `read_ledger`.
        retention_ms: for how long the outcomes of delivered events are kept.
    """
    counts = await read_ledger(server, spooled=spooled)
    misplaced = [
        *await untraced(server, retention_ms=retention_ms),
        *await _jobs_without_body(server),
        *await _misplaced_letters(server),
    ]
    return replace(counts, misplaced=tuple(dict.fromkeys(misplaced)))


async def _not_in_redis(server: Server, deliveries: Sequence[str]) -> list[str]:
    unknown: list[str] = []
    for first in range(0, len(deliveries), PAGE):
        page = deliveries[first : first + PAGE]
        pipeline = server.pipeline(transaction=False)
        for delivery in page:
            _ask_whether_known(pipeline, delivery)
        unknown += _unknown(page, await pipeline.execute())
    return unknown


def _ask_whether_known(pipeline: Any, delivery: str) -> None:
    """The question of `admit.lua`: would it be a duplicate?"""
    pipeline.exists(keys.seen_key(delivery.partition("~")[0]), keys.job_key(delivery))
    pipeline.pttl(keys.delivery_key(delivery))


def _unknown(deliveries: Sequence[str], answers: Sequence[int]) -> list[str]:
    pairs = zip(deliveries, answers[::2], answers[1::2], strict=True)
    return [delivery for delivery, there, remembered_ms in pairs if not there and remembered_ms != -1]


async def _jobs_without_body(server: Server) -> list[str]:
    missing: list[str] = []
    cursor = None
    while cursor != 0:
        cursor, page = await server.zscan(keys.QUEUE, cursor=cursor or 0, count=PAGE)
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
    for first in range(0, len(arguments), PAGE):
        pipeline = server.pipeline(transaction=False)
        for each in arguments[first : first + PAGE]:
            pipeline.execute_command(command, *each)
        answers += await pipeline.execute()
    return answers
