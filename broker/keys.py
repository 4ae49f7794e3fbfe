"""Every name that konvox-hooks uses in Redis: keys, channels, and the fields of hashes and streams.

All names begin with the namespace, so several installations can share one database. A connection carries the names of
its namespace (`our_keys`, see `broker.redis.client`), and nothing else makes a name: what is given a connection cannot
reach another namespace. The fields of a delivery's own hash are in `broker.deliveries`. Lua scripts are given their
keys from here; they spell field names themselves, and a test compares the two.

No key has a time to live while an event in it is pending or dead. `arq:job:` is arq's own prefix, because
`arq.jobs.Job` and a stock arq worker should read our jobs; there the namespace is part of the job's id. The queue's
name is ours: another application's arq worker on the same Redis would otherwise take jobs that it has no function for.
"""

from __future__ import annotations

import re
from typing import Final

from arq.constants import job_key_prefix

DEFAULT_NAMESPACE: Final = "konvox"

NAMESPACE: Final = re.compile(r"(?!arq$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A namespace has no colon, so no name of one namespace is one of another. `arq` is the beginning of arq's own keys."""

LOG_JOB: Final = b"job"
"""The one field of an entry of the log: the first job of the delivery, as arq keeps it."""

LEDGER_ACCEPTED: Final = "accepted"
LEDGER_DUPLICATES: Final = "duplicates"
LEDGER_DELIVERED: Final = "delivered"
LEDGER_DEAD: Final = "dead"
LEDGER_DROPPED: Final = "dropped"
LEDGER_EXTRA: Final = "extra"
"""Field: how many jobs there are beyond one for each delivery."""

ALL_COUNTS: Final = frozenset(
    {LEDGER_ACCEPTED, LEDGER_DUPLICATES, LEDGER_DELIVERED, LEDGER_DEAD, LEDGER_DROPPED, LEDGER_EXTRA}
)

OUTCOMES_MS: Final = 60_000
"""How long a minute of the shared outcomes is. It is short, because the server answers nobody while it removes one."""


class Keys:
    """The names of one namespace.

    Args:
        namespace: with which and a colon all names begin; see `NAMESPACE`.
    """

    namespace: str
    is_default: bool

    queue: str
    """Sorted set of job ids by due time in ms of Redis TIME; a score in the future is a delay or a lease.

    What was released, and what is found to be lapsed, has its time in seconds: a much smaller score, so it is
    claimed before all that has never run. `broker/lua/prelude.lua` makes the scores."""

    job_prefix: str
    """String per job: the JSON that arq keeps for a job."""

    leases: str
    """Hash of job id to the token of its last claim: the fence."""

    next_lapse: str
    """String: the ms of Redis TIME before which no lease lapses, so that no claim has to look for lapsed ones."""

    crashes: str
    """Hash of job id to how often a worker died with its lease: a lease that lapsed counts as a crash."""

    suspects: str
    """Sorted set of the jobs that crashed twice and wait until a worker has no other one of them, in order."""

    log: str
    """Stream of all admissions, trimmed by age."""

    ledger: str
    """Hash of counts; the fields are those above."""

    dead: str
    """Hash of dead letter id to its JSON."""

    dead_index: str
    """Sorted set of dead letter ids by time of death in ms of Redis TIME."""

    seen_prefix: str
    """String per event id: its id in the log, kept for the dedupe window."""

    replays_prefix: str
    """Set per event id: the ids in the log of its replays."""

    delivery_prefix: str
    """Hash per delivery that needed more than one job or has a dead letter; see `broker.deliveries`."""

    outcomes_prefix: str
    """Hash per minute in which events were received: delivery to the outcomes of its handlers, if its first job
    settled it. A key for each delivery would cost the server half of the time that it needs to settle one."""

    once_prefix: str
    """String per `ctx.once` key: `running` while the block runs, `done` afterwards."""

    wake_channel: str
    """Pub/sub channel on which an admission wakes the workers."""

    owner: str
    """Hash: the marks of the installation that the store belongs to, and their salt; see `broker.ownership`."""

    idle: str
    """Hash of worker to its standing claim: how many jobs, for how long, by which token. Only an idle worker has
    one."""

    push_prefix: str
    """Pub/sub channel per worker, on which an admission pushes events to a worker that has a standing claim."""

    def __init__(self, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.namespace = namespace
        self.is_default = namespace == DEFAULT_NAMESPACE
        self.queue = f"{namespace}:queue"
        self.job_prefix = job_key_prefix
        self.leases = f"{namespace}:leases"
        self.next_lapse = f"{namespace}:next-lapse"
        self.crashes = f"{namespace}:crashes"
        self.suspects = f"{namespace}:suspects"
        self.log = f"{namespace}:log"
        self.ledger = f"{namespace}:ledger"
        self.dead = f"{namespace}:dead"
        self.dead_index = f"{namespace}:dead:index"
        self.seen_prefix = f"{namespace}:seen:"
        self.replays_prefix = f"{namespace}:replays:"
        self.delivery_prefix = f"{namespace}:delivery:"
        self.outcomes_prefix = f"{namespace}:outcomes:"
        self.once_prefix = f"{namespace}:once:"
        self.wake_channel = f"{namespace}:wake"
        self.owner = f"{namespace}:owner"
        self.idle = f"{namespace}:idle"
        self.push_prefix = f"{namespace}:push:"

    def delivery_id(self, delivery: str) -> str:
        """A delivery's id as it is in this namespace: plain in the default one.

        Jobs are at arq's own keys, so their ids must tell the namespaces apart; see `broker.ids`.
        """
        prefix = f"{self.namespace}:"
        if self.is_default or delivery.startswith(prefix):
            return delivery
        return prefix + delivery

    def job_key(self, job_id: str) -> str:
        """The key of a job, as arq has it."""
        return self.job_prefix + job_id

    def push_channel(self, worker: str) -> str:
        """Where a worker hears what is pushed to it."""
        return self.push_prefix + worker

    def seen_key(self, event_id: str) -> str:
        """The key whose time to live is the dedupe window of an event."""
        return self.seen_prefix + event_id

    def replays_key(self, event_id: str) -> str:
        """The key of an event's replays."""
        return self.replays_prefix + event_id

    def delivery_key(self, delivery_id: str) -> str:
        """The key of a delivery's own hash."""
        return self.delivery_prefix + delivery_id

    def outcomes_key(self, received_at_ms: int) -> str:
        """The key of the hash that is shared by the deliveries received in that minute."""
        return f"{self.outcomes_prefix}{received_at_ms // OUTCOMES_MS}"

    def once_key(self, event_id: str, handler: str, key: str) -> str:
        """The key of `ctx.once(key)` of a handler for an event."""
        return f"{self.once_prefix}{event_id}/{handler}/{key}"
