"""Every name that konvox-hooks uses in Redis, and nothing else. All other modules take their keys from here.

None of these keys has a time to live while an event in it is pending or dead. `arq:job:` is arq's own prefix, so that
`arq.jobs.Job` and a stock arq worker read our jobs; the queue's name is ours, so that no other arq worker on the same
Redis takes jobs that it has no function for.
"""

from __future__ import annotations

from arq.constants import job_key_prefix

QUEUE = "konvox:queue"
"""Sorted set of job ids by due time in ms of Redis TIME; a score in the future is a delay or a lease."""

JOB_PREFIX = job_key_prefix
"""String per job: the JSON that arq keeps for a job."""

LEASES = "konvox:leases"
"""Hash of job id to the token of whoever claimed it last: the fence."""

CRASHES = "konvox:crashes"
"""Hash of job id to how often its lease lapsed without a word from the worker."""

LOG = "konvox:log"
"""Stream of all admitted events, trimmed by age."""

LEDGER = "konvox:ledger"
"""Hash of counts: `accepted`, `duplicates`, `delivered`, `dead`, `dropped`, `extra` (jobs beyond one a delivery)."""

DEAD = "konvox:dead"
"""Hash of dead letter id to its JSON."""

DEAD_INDEX = "konvox:dead:index"
"""Sorted set of dead letter ids by time of death in ms of Redis TIME."""

SEEN_PREFIX = "konvox:seen:"
"""String per event id: its id in the log, kept for the dedupe window."""

REPLAYS_PREFIX = "konvox:replays:"
"""Set per event id: the ids in the log of its replays."""

DELIVERY_PREFIX = "konvox:delivery:"
"""Hash per delivery that needed more than one job or has a dead letter: `.open`, `.dead`, `.dropped` counts, and an
outcome for each handler by name."""

OUTCOMES_PREFIX = "konvox:outcomes:"
"""Hash per minute in which events were received: delivery to the outcomes of its handlers, where its first job settled
it. A key for each delivery would be half of what it costs the server to settle one."""

OUTCOMES_MS = 60_000
"""For how long the deliveries received share a hash: short, so that nobody has to wait while one is removed."""

ONCE_PREFIX = "konvox:once:"
"""String per `ctx.once` key: `running` while the block runs, `done` afterwards."""

WAKE_CHANNEL = "konvox:wake"
"""Pub/sub channel on which an admission wakes the workers."""

IDLE = "konvox:idle"
"""Hash of worker to its standing claim: how many jobs, for how long, by which token. Only an idle worker has one."""

PUSH_PREFIX = "konvox:push:"
"""Pub/sub channel per worker, on which an admission pushes events to a worker that has a standing claim."""


def job_key(job_id: str) -> str:
    """Where arq keeps the job."""
    return JOB_PREFIX + job_id


def push_channel(worker: str) -> str:
    """Where a worker hears what is pushed to it."""
    return PUSH_PREFIX + worker


def seen_key(event_id: str) -> str:
    """Where the dedupe window of an event stands."""
    return SEEN_PREFIX + event_id


def replays_key(event_id: str) -> str:
    """Where the replays of an event stand."""
    return REPLAYS_PREFIX + event_id


def delivery_key(delivery_id: str) -> str:
    """Where the outcomes of a delivery stand."""
    return DELIVERY_PREFIX + delivery_id


def outcomes_key(received_at_ms: int) -> str:
    """Where the outcomes stand of deliveries that were received in that minute and settled by their first job."""
    return f"{OUTCOMES_PREFIX}{received_at_ms // OUTCOMES_MS}"


def once_key(event_id: str, handler: str, key: str) -> str:
    """Where `ctx.once(key)` of a handler for an event stands."""
    return f"{ONCE_PREFIX}{event_id}/{handler}/{key}"
