"""Keep the leases of running jobs, from a thread of its own: a handler that blocks the event loop keeps them, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from broker import ids, queue
from broker.queue import Claimed
from broker.redis.client import OUTAGES
from broker.redis.commands import BlockingServer
from worker.running.once import OnceBlocks

logger = structlog.get_logger("worker")

RENEWALS_PER_LEASE = 3
"""A lease outlives two renewals that failed."""


class LeaseRenewal:
    """A daemon thread that renews all leases of this worker, until it is stopped.

    Args:
        connect: makes the connection of the thread.
        lease_ms: how long a lease lasts.
        claims: the jobs in flight; called from the thread.
        once: the blocks of `ctx.once` that are running.
    """

    def __init__(
        self,
        connect: Callable[[], BlockingServer],
        *,
        lease_ms: int,
        claims: Callable[[], Sequence[Claimed]],
        once: OnceBlocks,
    ) -> None:
        self._connect = connect
        self._lease_ms = lease_ms
        self._claims = claims
        self._once = once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease renewal", daemon=True)

    def start(self) -> None:
        """Start renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; returns at once, the thread ends by itself."""
        self._stop.set()

    def _run(self) -> None:
        server = self._connect()
        away = False
        while not self._stop.wait(self._lease_ms / 1000 / RENEWALS_PER_LEASE):
            try:
                self._renew_all(server)
            except OUTAGES as error:
                if not away:
                    logger.warning("lease.renewal_failed", error=type(error).__name__)
                away = True
            except Exception:
                # Without this thread, every event that takes long would run twice.
                logger.exception("lease.renewal_crashed")
            else:
                away = False
        server.close()

    def _renew_all(self, server: BlockingServer) -> None:
        self._once.renew(server)
        claims = self._claims()
        lost = queue.renew(server, claims, lease_ms=self._lease_ms) if claims else set()
        # A job that was settled a moment ago is "lost" as well; only one that is still running is worth a line.
        still_running = {claim.job_id for claim in self._claims()}
        for job_id in lost & still_running:
            logger.warning("lease.lost", job_id=ids.readable(job_id))
