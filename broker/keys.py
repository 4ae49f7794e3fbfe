"""Every name that konvox-hooks uses in Redis: keys, channels, and the fields of hashes and streams.

The fields of a delivery's own hash are in `broker.deliveries`. Lua scripts are given their keys from here; they spell
field names themselves, and a test compares the two.

No key has a time to live while an event in it is pending or dead. `arq:job:` is arq's own prefix, because
`arq.jobs.Job` and a stock arq worker should read our jobs. The queue's name is ours: another application's arq worker
on the same Redis would otherwise take jobs that it has no function for.
"""

from __future__ import annotations

from arq.constants import job_key_prefix

QUEUE = "konvox:queue"
"""Sorted set of job ids by due time in ms of Redis TIME; a score in the future is a delay or a lease.

What was released, and what is found to be lapsed, has its time in seconds: a much smaller score, so it is claimed
before all that has never run. `broker/lua/prelude.lua` makes the scores."""

JOB_PREFIX = job_key_prefix
"""String per job: the JSON that arq keeps for a job."""

LEASES = "konvox:leases"
"""Hash of job id to the token of its last claim: the fence."""

NEXT_LAPSE = "konvox:next-lapse"
"""String: the ms of Redis TIME before which no lease lapses, so that no claim has to look for lapsed ones."""

CRASHES = "konvox:crashes"
"""Hash of job id to how often a worker died with its lease: a lease that lapsed counts as a crash."""

SUSPECTS = "konvox:suspects"
"""Sorted set of the jobs that crashed twice and wait until a worker has no other one of them, in their order."""

LOG = "konvox:log"
"""Stream of all admissions, trimmed by age."""

LOG_JOB = b"job"
"""The one field of an entry of the log: the first job of the delivery, as arq keeps it."""

LEDGER = "konvox:ledger"
"""Hash of counts; the fields are those below."""

LEDGER_ACCEPTED = "accepted"
LEDGER_DUPLICATES = "duplicates"
LEDGER_DELIVERED = "delivered"
LEDGER_DEAD = "dead"
LEDGER_DROPPED = "dropped"
LEDGER_EXTRA = "extra"
"""Field: how many jobs there are beyond one for each delivery."""

DEAD = "konvox:dead"
"""Hash of dead letter id to its JSON."""

DEAD_INDEX = "konvox:dead:index"
"""Sorted set of dead letter ids by time of death in ms of Redis TIME."""

SEEN_PREFIX = "konvox:seen:"
"""String per event id: its id in the log, kept for the dedupe window."""

REPLAYS_PREFIX = "konvox:replays:"
"""Set per event id: the ids in the log of its replays."""

DELIVERY_PREFIX = "konvox:delivery:"
"""Hash per delivery that needed more than one job or has a dead letter; `broker.deliveries` knows its fields."""

OUTCOMES_PREFIX = "konvox:outcomes:"
"""Hash per minute in which events were received: delivery to the outcomes of its handlers, if its first job settled it.
A key for each delivery would cost the server half of the time that it needs to settle one."""

OUTCOMES_MS = 60_000
"""How long a minute of that hash is. It is short, because the server answers nobody while it removes one."""

ONCE_PREFIX = "konvox:once:"
"""String per `ctx.once` key: `running` while the block runs, `done` afterwards."""

WAKE_CHANNEL = "konvox:wake"
"""Pub/sub channel on which an admission wakes the workers."""

IDLE = "konvox:idle"
"""Hash of worker to its standing claim: how many jobs, for how long, by which token. Only an idle worker has one."""

PUSH_PREFIX = "konvox:push:"
"""Pub/sub channel per worker, on which an admission pushes events to a worker that has a standing claim."""


def job_key(job_id: str) -> str:
    """The key of a job, as arq has it."""
    return JOB_PREFIX + job_id


def push_channel(worker: str) -> str:
    """Where a worker hears what is pushed to it."""
    return PUSH_PREFIX + worker


def seen_key(event_id: str) -> str:
    """The key whose time to live is the dedupe window of an event."""
    return SEEN_PREFIX + event_id


def replays_key(event_id: str) -> str:
    """The key of an event's replays."""
    return REPLAYS_PREFIX + event_id


def delivery_key(delivery_id: str) -> str:
    """The key of a delivery's own hash."""
    return DELIVERY_PREFIX + delivery_id


def outcomes_key(received_at_ms: int) -> str:
    """The key of the hash that is shared by the deliveries received in that minute."""
    return f"{OUTCOMES_PREFIX}{received_at_ms // OUTCOMES_MS}"


def once_key(event_id: str, handler: str, key: str) -> str:
    """The key of `ctx.once(key)` of a handler for an event."""
    return f"{ONCE_PREFIX}{event_id}/{handler}/{key}"
