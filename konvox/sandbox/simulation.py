"""Where the events of a sandbox come from: campaigns that become active, and a scenario by which contacts react.

`campaigns` and `control` call `Simulation`; `app` runs the scenario.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import structlog
from aiohttp import web

from konvox.inferred import ENROLLED, REPLIED
from konvox.samples import sample_body
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.delivery import DELIVERER, Deliverer
from konvox.sandbox.records import ACTIVE, Campaign, Enrollment
from konvox.sandbox.scenarios import SCENARIOS, STEADY, UNKNOWN_EVENTS, Reaction, draw_reaction
from konvox.sandbox.state import STATE, SandboxState

_log = structlog.get_logger()


class Simulation:
    """Changes the records as things happen, and then delivers the events."""

    def __init__(self, config: SandboxConfig, state: SandboxState, deliverer: Deliverer) -> None:
        self._config = config
        self._state = state
        self._deliverer = deliverer
        self._random = Random(config.seed)  # noqa: S311 - a repeatable scenario, no secret
        self._scenario = SCENARIOS[config.scenario] if config.scenario else STEADY
        self._waiting: dict[str, list[str]] = {}
        """The ids of each campaign's enrolled contacts that have not reacted yet."""
        self._someone_waits = asyncio.Event()
        for enrollment in state.enrollments:
            if enrollment.state == ENROLLED:
                self._add_waiting(enrollment)

    def activate(self, campaign: Campaign) -> None:
        """Enroll every active contact that is not in the campaign yet, with an event for each."""
        fresh = self._state.enroll_contacts(campaign)
        for enrollment in fresh:
            self._add_waiting(enrollment)
            self._emit("enrollment.created", _ids(enrollment))
        self._someone_waits.set()  # after a pause, contacts may wait although nobody was enrolled
        _log.info("sandbox.activated", campaign_id=campaign.id, enrolled=len(fresh))

    def apply(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Update the records for an event that a request fired, if it concerns one of them."""
        enrollment_id = data.get("enrollmentId")
        enrollment = self._state.enrollments.get(enrollment_id if isinstance(enrollment_id, str) else None)
        if enrollment is None:
            return
        if event_type == "contact.replied" and enrollment.state == ENROLLED:
            self._state.enrollments.move(enrollment, REPLIED)
        elif event_type == "enrollment.unsubscribed":
            self._state.opt_out(enrollment.contact_id)

    async def run(self) -> None:
        """Make contacts react by the scenario, until cancelled. Waits while nobody can react."""
        clock = asyncio.get_running_loop().time
        due = clock()
        for wait_seconds, size in self._scenario.pace(self._random, self._config.rate):
            if not self._someone_waits.is_set():
                await self._someone_waits.wait()
                due = clock()
            # By the clock: at a high rate the inaccuracy of the sleeps would add up.
            due += wait_seconds
            await asyncio.sleep(max(0.0, due - clock()))
            happened = sum(self._react_once() for _ in range(size))
            self._state.commit()
            if happened < size:
                self._someone_waits.clear()

    def _add_waiting(self, enrollment: Enrollment) -> None:
        self._waiting.setdefault(enrollment.campaign_id, []).append(enrollment.id)
        self._someone_waits.set()

    def _react_once(self) -> bool:
        """Make one contact react, with an event; False if nobody can."""
        while (enrollment := self._next()) is not None:
            campaign = self._state.campaigns.get(enrollment.campaign_id)
            reaction = draw_reaction(self._random, campaign.channel if campaign else "email")
            if self._random.random() < self._scenario.unknown_share:
                self._add_waiting(enrollment)
                self._emit(self._random.choice(UNKNOWN_EVENTS), _ids(enrollment) | {"sandbox": True})
                return True
            if reaction.kind != "silent":
                self._react(enrollment, reaction)
                return True
        return False

    def _next(self) -> Enrollment | None:
        """Choose a waiting enrollment of an active campaign and remove it from the waiting; None if there is none."""
        for campaign_id in [*self._waiting]:
            campaign = self._state.campaigns.get(campaign_id)
            if campaign is None or not self._waiting[campaign_id]:
                del self._waiting[campaign_id]
        active = [campaign_id for campaign_id in self._waiting if self._is_active(campaign_id)]
        while active:
            ids = self._waiting[self._random.choice(active)]
            place = self._random.randrange(len(ids))
            ids[place], ids[-1] = ids[-1], ids[place]
            enrollment = self._state.enrollments.get(ids.pop())
            if enrollment is not None and enrollment.state == ENROLLED:
                return enrollment
            active = [campaign_id for campaign_id in active if self._waiting[campaign_id]]
        return None

    def _is_active(self, campaign_id: str) -> bool:
        campaign = self._state.campaigns.get(campaign_id)
        return campaign is not None and campaign.status == ACTIVE

    def _react(self, enrollment: Enrollment, reaction: Reaction) -> None:
        if reaction.kind == "opted out":
            reason = "manual" if reaction.manual else "opt_out_keyword"
            for ended in self._state.opt_out(enrollment.contact_id):
                self._emit("enrollment.unsubscribed", _ids(ended) | {"reason": reason})
            return
        reply: dict[str, Any] = {
            "contactId": enrollment.contact_id,
            "channel": "email" if reaction.email else "linkedin",
        }
        if reaction.email:
            reply["subject"] = reaction.subject
        attributed = reaction.kind == "replied"
        if attributed:
            self._state.enrollments.move(enrollment, REPLIED)
        reply["campaignId"] = enrollment.campaign_id if attributed else None
        reply["enrollmentId"] = enrollment.id if attributed else None
        self._emit("contact.replied", reply)

    def _emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        body = sample_body(event_type, data=data, company_id=self._config.company_id)
        self._deliverer.fire(event_type, body, copies_after_seconds=self._scenario.copies(self._random))


SIMULATION = web.AppKey("SIMULATION", Simulation)


async def simulation_context(app: web.Application, config: SandboxConfig) -> AsyncIterator[None]:
    """Give the app its simulation, and run the scenario from the app's start to its end."""
    app[SIMULATION] = simulation = Simulation(config, app[STATE], app[DELIVERER])
    if config.scenario is None:
        yield
        return
    running = asyncio.create_task(simulation.run())
    running.add_done_callback(_log_failure)
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _log_failure(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        _log.error("sandbox.scenario_failed", error=type(error).__name__)


def _ids(enrollment: Enrollment) -> dict[str, Any]:
    return {
        "enrollmentId": enrollment.id,
        "contactId": enrollment.contact_id,
        "campaignId": enrollment.campaign_id,
    }
