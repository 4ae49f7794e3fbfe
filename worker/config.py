"""What the operator chooses about a worker. The console reads it from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from broker.keys import DEFAULT_NAMESPACE
from broker.redis.client import connect_blocking
from broker.redis.commands import BlockingServer


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How one worker works.

    Attributes:
        redis_url: Redis; lease renewal and watchdog make connections of their own.
        namespace: of all names in Redis.
        concurrency: the most events in flight.
        lease_seconds: after so long without renewal the events of a worker that died run elsewhere.
        stop_seconds: how long running handlers are given when the worker is asked to stop.
        retention_seconds: for how long the outcomes of delivered events can be looked up.
        once_ttl_seconds: for how long `ctx.once` remembers that a block is done.
        burst: stop once nothing is left in the queue, retries included.
        full_tracebacks: whether the log shows the frames of the worker too, where a handler failed.
    """

    redis_url: str
    namespace: str = DEFAULT_NAMESPACE
    concurrency: int = 100
    lease_seconds: float = 15.0
    stop_seconds: float = 20.0
    retention_seconds: int = 604_800
    once_ttl_seconds: int = 604_800
    burst: bool = False
    full_tracebacks: bool = False

    def connect_blocking(self) -> BlockingServer:
        """A connection for a thread of its own."""
        return connect_blocking(self.redis_url, namespace=self.namespace)

    @property
    def lease_ms(self) -> int:
        """The lease in ms."""
        return round(self.lease_seconds * 1000)
