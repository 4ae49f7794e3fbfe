"""Make sure that Redis keeps what it is given, before anything is written to it and after each outage.

Used by the roles. At start a server that would lose events ends the role; whoever is there later, after an outage, is
none that the receiver could refuse to start with: its events then stay in the spool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from broker.admission import Write, to_redis
from broker.connection import OUTAGES, Server, outages_as_unavailable
from broker.durability import Assurance, assure
from broker.errors import BrokerUnavailableError, UnsafeServerError
from broker.records import Job
from console.settings import Settings
from console.store import admission_policy
from worker.outage import Outage

logger = structlog.get_logger("console")


class Preflight:
    """The checks of one role. What there is to say about the server is said once, and again when it changes."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self._told: set[str] = set()
        if settings.durability == "memory":
            logger.warning("durability.memory", risk="a crash of Redis loses events that were answered with 200")

    async def check(self) -> Assurance:
        """Look at the server.

        Raises:
            UnsafeServerError: it would lose events.
            BrokerUnavailableError: it cannot be asked at the moment.
        """
        with outages_as_unavailable():
            assurance = await assure(
                self._server, self._settings.durability, allow_eviction=self._settings.allow_eviction
            )
        for doubt in assurance.doubts:
            if doubt not in self._told:
                logger.warning("redis.doubt", doubt=doubt)
        self._told = set(assurance.doubts)
        return assurance

    async def wait(self, stopping: Callable[[], bool]) -> None:
        """Wait until the server is there and safe, or somebody wants us to stop.

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


class CheckedWrite:
    """Writes batches to a server that has been found safe; what is there after an outage is looked at again.

    Attributes:
        fault: why nothing is written although the server is there; None while all is well.
    """

    def __init__(self, server: Server, settings: Settings) -> None:
        self.fault: UnsafeServerError | None = None
        self._server = server
        self._settings = settings
        self._preflight = Preflight(server, settings)
        self._write: Write | None = None

    async def __call__(self, jobs: Sequence[Job]) -> list[bool]:
        """Make a batch durable; see `broker.admission.admit`.

        Raises:
            BrokerUnavailableError: Redis did not confirm it in time, or would lose it.
        """
        write = self._write
        if write is None:
            assurance = await self._check()
            # Not forgotten if the batch fails: what has just been looked at need not be, until the next failure.
            write = self._write = to_redis(self._server, admission_policy(self._settings, assurance.confirmation))
            return await write(jobs)
        try:
            return await write(jobs)
        except BaseException:  # whoever waited long enough cancels
            self._write = None
            raise

    async def _check(self) -> Assurance:
        try:
            assurance = await self._preflight.check()
        except UnsafeServerError as unsafe:
            self._note(unsafe)
            raise BrokerUnavailableError(unsafe.fault) from unsafe
        self._note(None)
        return assurance

    def _note(self, fault: UnsafeServerError | None) -> None:
        if fault is not None and str(fault) != str(self.fault):
            logger.error("redis.unsafe", fault=fault.fault, mend=fault.mend)
        elif fault is None and self.fault is not None:
            logger.info("redis.safe")
        self.fault = fault
