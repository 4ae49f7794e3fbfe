"""What the log says was admitted, held against the queue, the outcomes and the dead letters. Used by the ledger.

These are counts that nobody keeps: each delivery in the log is looked up where it should be, so that one which has
disappeared is found by its id, whatever the counters say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from broker import keys
from broker.errors import MalformedRecordError
from broker.records import Job
from broker.redis.client import Server

PAGE = 500
"""How many are looked up in one round trip: bounds how long the server is kept busy."""

_MARGIN_MS = 60_000
_LOOKS = 3
"""What does not fit may just be on its way: only what does not fit at each of so many looks is told."""


@dataclass(frozen=True, slots=True)
class _Trace:
    """What there is of a delivery.

    Attributes:
        queued: whether its first job is queued.
        settled: whether its first job has settled it, all by itself.
        fields: what is written down about one that needed more than that.
    """

    queued: bool
    settled: bool
    fields: Mapping[str, bytes]

    @property
    def open_jobs(self) -> int:
        if ".open" in self.fields:
            return int(self.fields[".open"])
        return int(self.queued or any(outcome.get("state") == "retrying" for outcome in self._outcomes.values()))

    @property
    def letters(self) -> int:
        return int(self.fields.get(".dead", 0))

    @property
    def _outcomes(self) -> dict[str, Any]:
        return {name: orjson.loads(value) for name, value in self.fields.items() if not name.startswith(".")}

    def further_jobs(self, delivery: str) -> list[str]:
        """The ids that jobs of single handlers may have: the next attempt, or the first one after a retry by hand."""
        return [
            f"{delivery}/{handler}#{attempt}"
            for handler, outcome in self._outcomes.items()
            for attempt in sorted({1, outcome.get("attempts", 0) + 1})
        ]


async def untraced(server: Server, *, retention_ms: int) -> list[str]:
    """The deliveries in the log that are not where they should be: queued, settled, or a dead letter.

    Args:
        server: Server.
        retention_ms: for how long outcomes are kept; what was admitted before that has left no trace in order.
    """
    seconds, _ = await server.time()
    position, found = str(max(0, seconds * 1000 - retention_ms + _MARGIN_MS)), dict[str, None]()
    while page := await server.xrange(keys.LOG, min=position, count=PAGE):
        admitted: dict[str, Job] = {}  # the first job of each delivery; a replay for one handler has an id of its own
        for log_id, fields in page:
            try:
                job = Job.from_bytes(fields.get(b"job", b""))
            except MalformedRecordError:
                found[f"{keys.LOG} {log_id.decode()}"] = None
            else:
                admitted[job.delivery] = job
        for delivery in admitted:
            found.pop(delivery, None)  # admitted once more after its dedupe window: its last time is what counts
        suspects = admitted
        for _ in range(_LOOKS):
            suspects = await _unfit(server, suspects)
        found.update(dict.fromkeys(suspects))
        position = "(" + page[-1][0].decode()
    return list(found)


async def _unfit(server: Server, admitted: Mapping[str, Job]) -> dict[str, Job]:
    if not admitted:
        return {}
    traces = await _traces(server, admitted)
    letters = await _letters(server) if any(trace.letters for trace in traces.values()) else Counter[str]()
    unfit = {}
    for delivery, trace in traces.items():
        lost = not trace.queued and not trace.settled and not trace.fields
        jobs_missing = trace.open_jobs > trace.queued and trace.open_jobs > await _queued(server, delivery, trace)
        if lost or jobs_missing or letters[delivery] < trace.letters:
            unfit[delivery] = admitted[delivery]
    return unfit


async def _traces(server: Server, admitted: Mapping[str, Job]) -> dict[str, _Trace]:
    """What there is of each delivery; they are given with their first jobs."""
    async with server.pipeline(transaction=True) as transaction:  # a delivery's parts belong to one moment
        for delivery, job in admitted.items():
            transaction.zscore(keys.QUEUE, job.id)
            transaction.hexists(keys.outcomes_key(job.record.received_at_ms), delivery)
            transaction.hgetall(keys.delivery_key(delivery))
        answers = await transaction.execute()
    parts = zip(admitted, answers[::3], answers[1::3], answers[2::3], strict=True)
    return {
        delivery: _Trace(score is not None, bool(settled), {name.decode(): value for name, value in fields.items()})
        for delivery, score, settled, fields in parts
    }


async def _queued(server: Server, delivery: str, trace: _Trace) -> int:
    """How many of its jobs are queued."""
    jobs = trace.further_jobs(delivery)
    scores = await server.zmscore(keys.QUEUE, jobs) if jobs else []
    return trace.queued + sum(score is not None for score in scores)


async def _letters(server: Server) -> Counter[str]:
    """How many dead letters there are of each delivery."""
    return Counter(letter_id.decode().split("/")[0] for letter_id in await server.hkeys(keys.DEAD))
