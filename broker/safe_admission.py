"""The check of the store before we write to it: when a role starts, and again after each outage.

Used by `konvox_hooks.service`. If the server would lose events, a role that is starting ends. After an outage, nothing
is written to such a server: the receiver's events stay in its spool.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog

from broker.admission import AdmissionPolicy, Write, to_redis
from broker.errors import BrokerUnavailableError, UnsafeServerError
from broker.ownership import refuse_foreign
from broker.records import Job
from broker.redis.client import OUTAGES, outages_as_unavailable
from broker.redis.commands import Server
from broker.redis.durability import Durability, ServerCheck, check_server
from broker.redis.outage import Outage
from broker.set_aside import set_aside

logger = structlog.get_logger("broker")


class Preflight:
    """The check of one role. Each warning about the server is logged once, and again when it changes.

    Args:
        server: Redis.
        durability: what a 200 promises.
        allow_eviction: whether a server that evicts keys is a warning rather than a fault.
        known_by: by what this installation is known; see `broker.ownership`.
    """

    def __init__(
        self,
        server: Server,
        durability: Durability,
        *,
        allow_eviction: bool = False,
        known_by: Collection[str] = (),
    ) -> None:
        self._server = server
        self._durability = durability
        self._allow_eviction = allow_eviction
        self._known_by = known_by
        self._logged: set[str] = set()
        if durability == "memory":
            logger.warning("durability.disabled", risk="a crash of Redis loses events that were answered with 200")

    async def check(self) -> ServerCheck:
        """Check the server once, and set aside what stands at our keys and is not ours.

        Raises:
            UnsafeServerError: it would lose events, or the store is another installation's.
            BrokerUnavailableError: it does not answer at the moment, or is a replica.
        """
        with outages_as_unavailable():
            found = await check_server(self._server, self._durability, allow_eviction=self._allow_eviction)
            await refuse_foreign(self._server, self._known_by)
            await set_aside(self._server)
        for sentence in found.unverified:
            if sentence not in self._logged:
                logger.warning("redis.unverified", what=sentence)
        self._logged = set(found.unverified)
        return found

    async def wait(self, stopping: Callable[[], bool]) -> None:
        """Wait until the server is there and safe, or until `stopping()`.

        Raises:
            UnsafeServerError: it would lose events.
        """
        outage = Outage()
        while not stopping():
            try:
                await self.check()
            except (BrokerUnavailableError, *OUTAGES) as error:
                await outage.wait(error)
            else:
                outage.over()
                return


class SafeAdmission:
    """Admits batches to a server that was found safe, and checks it again after each failure.

    Args:
        server: Redis.
        policy: how events are kept. Its `confirmation` is replaced by what the check finds.
        preflight: the check.

    Attributes:
        fault: why nothing is written although the server answers; None while it is safe.
    """

    def __init__(self, server: Server, policy: AdmissionPolicy, preflight: Preflight) -> None:
        self.fault: UnsafeServerError | None = None
        self._server = server
        self._policy = policy
        self._preflight = preflight
        self._write: Write | None = None

    async def __call__(self, jobs: Sequence[Job]) -> list[bool]:
        """Make a batch durable; see `broker.admission.admit`.

        Raises:
            BrokerUnavailableError: Redis did not confirm it in time, or is not safe.
        """
        write = self._write
        if write is None:
            found = await self._check()
            # Kept even if this first batch fails: a server that was just checked needs a check only after another one.
            write = self._write = to_redis(self._server, replace(self._policy, confirmation=found.confirmation))
            return await write(jobs)
        try:
            return await write(jobs)
        except BaseException:  # also a cancellation: the caller has waited long enough
            self._write = None
            raise

    async def _check(self) -> ServerCheck:
        try:
            found = await self._preflight.check()
        except UnsafeServerError as unsafe:
            self._note(unsafe)
            raise BrokerUnavailableError(unsafe.fault) from unsafe
        self._note(None)
        return found

    def _note(self, fault: UnsafeServerError | None) -> None:
        if fault is not None and str(fault) != str(self.fault):
            logger.error("redis.refused", fault=fault.fault, hint=fault.hint)
        elif fault is None and self.fault is not None:
            logger.info("redis.approved")
        self.fault = fault
