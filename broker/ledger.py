"""The ledger: the counts by which every accepted delivery is delivered, dead or pending, at every moment.

The scripts that move events write the counts. Two of them are counted from the things themselves, so that the equation
can fail: pending from the queue, and dead is held against the dead letters. What waits in a spool is accepted and
pending, unless Redis has it already: the answer to the receiver may have been lost on the way.

Used by `broker.audit`, which also looks for what is missing, and by the admin listener for the metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from broker import ids
from broker.keys import (
    ALL_COUNTS,
    LEDGER_ACCEPTED,
    LEDGER_DEAD,
    LEDGER_DELIVERED,
    LEDGER_DROPPED,
    LEDGER_DUPLICATES,
    LEDGER_EXTRA,
    Keys,
)
from broker.redis.client import PAGE
from broker.redis.commands import Pipeline, Server
from broker.untrusted import found, text_of, whole_number

_NO_FIELDS: Mapping[bytes, bytes] = {}


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
        misplaced: what an audit found (see `broker.audit`): ids of deliveries that the log has and nothing else, of
            jobs without a body, of dead letters without an index entry, or the other way round; and the keys, fields
            and entries whose content is not ours.
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
        server: Redis.
        spooled: the deliveries in the spools. Read the spools before you call this: one that is drained in between is
            found in Redis then.
    """
    # Two looks: the first leaves out what has arrived, so that the transaction keeps the server busy for less.
    unknown = await _not_in_redis(server, list(dict.fromkeys(spooled)))
    async with server.pipeline(transaction=True) as transaction:
        transaction.hgetall(server.our_keys.ledger)
        transaction.zcard(server.our_keys.queue)
        transaction.hlen(server.our_keys.dead)
        for delivery in unknown:
            _ask_whether_known(transaction, server.our_keys, delivery)
        raw_counts, raw_jobs, raw_letters, *known = await transaction.execute(raise_on_error=False)
    in_spool_only = len(_unknown(unknown, [found(answer, 0) for answer in known]))
    counts, not_ours = _counts(found(raw_counts, _NO_FIELDS))
    jobs, letters = found(raw_jobs, 0), found(raw_letters, 0)
    return Ledger(
        accepted=counts[LEDGER_ACCEPTED] + in_spool_only,
        duplicates=counts[LEDGER_DUPLICATES],
        delivered=counts[LEDGER_DELIVERED],
        # No more than there are letters for: one that is gone without having been dropped is missing.
        dead=min(counts[LEDGER_DEAD], letters) + counts[LEDGER_DROPPED],
        dropped=counts[LEDGER_DROPPED],
        pending=jobs - counts[LEDGER_EXTRA] + in_spool_only,
        dead_letters=letters,
        spooled=in_spool_only,
        misplaced=tuple(f"{server.our_keys.ledger} {name}" for name in not_ours),
    )


def _counts(fields: Mapping[bytes, bytes]) -> tuple[Counter[str], list[str]]:
    """The counts by name, and the fields that are no count of ours. Pure."""
    counts, not_ours = Counter[str](), []
    for name, value in fields.items():
        number = whole_number(value)
        if name.decode("utf-8", "replace") in ALL_COUNTS and number is not None:
            counts[name.decode()] = number
        else:
            not_ours.append(ids.readable(text_of(name)))
    return counts, not_ours


async def _not_in_redis(server: Server, deliveries: Sequence[str]) -> list[str]:
    unknown: list[str] = []
    for first in range(0, len(deliveries), PAGE):
        page = deliveries[first : first + PAGE]
        pipeline = server.pipeline(transaction=False)
        for delivery in page:
            _ask_whether_known(pipeline, server.our_keys, delivery)
        unknown += _unknown(page, await pipeline.execute())
    return unknown


def _ask_whether_known(pipeline: Pipeline, keys: Keys, spooled: str) -> None:
    """Ask what `admit.lua` asks: would it be a duplicate?"""
    delivery = keys.delivery_id(spooled)
    pipeline.exists(keys.seen_key(ids.event_of(delivery)), keys.job_key(delivery))
    pipeline.pttl(keys.delivery_key(delivery))


def _unknown(deliveries: Sequence[str], answers: Sequence[int]) -> list[str]:
    pairs = zip(deliveries, answers[::2], answers[1::2], strict=True)
    return [delivery for delivery, there, remembered_ms in pairs if not there and remembered_ms != -1]
