"""The ledger: every accepted delivery is delivered, dead or pending, at every moment. Used by `konvox-hooks audit`.

The counts are written by the same scripts that move the events; pending is counted from the queue itself, so that the
equation can fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        misplaced: ids that do not fit: jobs without a body, letters without an index entry.
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
        dead=counts.get("dead", 0) + counts.get("dropped", 0),
        dropped=counts.get("dropped", 0),
        pending=jobs - counts.get("extra", 0),
        dead_letters=letters,
    )


async def audit(server: Server) -> Ledger:
    """The counts, and a look at each queued job and each dead letter: is what it takes to run it really there?"""
    misplaced = await _jobs_without_body(server) + await _letters_without_index(server)
    return replace(await read_ledger(server), misplaced=tuple(misplaced))


async def _jobs_without_body(server: Server) -> list[str]:
    missing = []
    async for job_id, _ in server.zscan_iter(keys.QUEUE, count=_PAGE):
        # A job may be settled between two looks; one that is still queued and has no body is misplaced.
        if (
            not await server.exists(keys.job_key(job_id.decode()))
            and await server.zscore(keys.QUEUE, job_id) is not None
        ):
            missing.append(job_id.decode())
    return missing


async def _letters_without_index(server: Server) -> list[str]:
    missing = []
    async for letter_id, _ in server.hscan_iter(keys.DEAD, count=_PAGE):
        if await server.zscore(keys.DEAD_INDEX, letter_id) is None and await server.hexists(keys.DEAD, letter_id):
            missing.append(letter_id.decode())
    return missing
