"""Where events come from: campaigns that become active, and contacts who reply or opt out by a scenario."""

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
from konvox.sandbox.scenarios import QUIET, SCENARIOS, UNKNOWN_EVENTS, Fate, draw_fate
from konvox.sandbox.state import STATE, SandboxState

_log = structlog.get_logger()


class Life:
    """What happens in a sandbox. The records change first, then the event is on its way."""

    def __init__(self, config: SandboxConfig, state: SandboxState, deliverer: Deliverer) -> None:
        self._config = config
        self._state = state
        self._deliverer = deliverer
        self._random = Random(config.seed)  # noqa: S311 - a scenario is to be repeated, not to be secret
        self._scenario = SCENARIOS[config.scenario] if config.scenario else QUIET
        self._ahead: dict[str, list[str]] = {}
        """The enrollments of each campaign to which nothing has happened yet."""
        self._something_ahead = asyncio.Event()
        for enrollment in state.enrollments:
            if enrollment.state == ENROLLED:
                self._await_fate(enrollment)

    def activate(self, campaign: Campaign) -> None:
        """Enroll every active contact that is not in the campaign yet, with an event for each."""
        fresh = self._state.enroll_contacts(campaign)
        for enrollment in fresh:
            self._await_fate(enrollment)
            self._emit("enrollment.created", _ids(enrollment))
        self._something_ahead.set()  # a campaign that goes on after a pause may bring nobody new
        _log.info("sandbox.activated", campaign_id=campaign.id, enrolled=len(fresh))

    def apply(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Bring the records in step with an event that was fired by hand, if it is about any of them."""
        enrollment_id = data.get("enrollmentId")
        enrollment = self._state.enrollments.get(enrollment_id if isinstance(enrollment_id, str) else None)
        if enrollment is None:
            return
        if event_type == "contact.replied" and enrollment.state == ENROLLED:
            self._state.enrollments.move(enrollment, REPLIED)
        elif event_type == "enrollment.unsubscribed":
            self._state.opt_out(enrollment.contact_id)

    async def run(self) -> None:
        """Let replies and opt-outs come, for ever; at rest while nobody is left who could."""
        clock = asyncio.get_running_loop().time
        due = clock()
        for wait_seconds, size in self._scenario.pace(self._random, self._config.rate):
            if not self._something_ahead.is_set():
                await self._something_ahead.wait()
                due = clock()
            # By the clock, not by the sleeps: at a high rate their inaccuracy would add up.
            due += wait_seconds
            await asyncio.sleep(max(0.0, due - clock()))
            happened = sum(self._step() for _ in range(size))
            self._state.commit()
            if happened < size:
                self._something_ahead.clear()

    def _await_fate(self, enrollment: Enrollment) -> None:
        self._ahead.setdefault(enrollment.campaign_id, []).append(enrollment.id)
        self._something_ahead.set()

    def _step(self) -> bool:
        """Have one event happen; False where nobody is left to whom it could."""
        while (enrollment := self._next()) is not None:
            campaign = self._state.campaigns.get(enrollment.campaign_id)
            fate = draw_fate(self._random, campaign.channel if campaign else "email")
            if self._random.random() < self._scenario.unknown_share:
                self._await_fate(enrollment)
                self._emit(self._random.choice(UNKNOWN_EVENTS), _ids(enrollment) | {"sandbox": True})
                return True
            if fate.kind != "silent":
                self._happen(enrollment, fate)
                return True
        return False

    def _next(self) -> Enrollment | None:
        """Anyone who is still active in an active campaign; nobody twice."""
        for campaign_id in [*self._ahead]:
            campaign = self._state.campaigns.get(campaign_id)
            if campaign is None or not self._ahead[campaign_id]:
                del self._ahead[campaign_id]
        going = [campaign_id for campaign_id in self._ahead if self._is_active(campaign_id)]
        while going:
            ids = self._ahead[self._random.choice(going)]
            place = self._random.randrange(len(ids))
            ids[place], ids[-1] = ids[-1], ids[place]
            enrollment = self._state.enrollments.get(ids.pop())
            if enrollment is not None and enrollment.state == ENROLLED:
                return enrollment
            going = [campaign_id for campaign_id in going if self._ahead[campaign_id]]
        return None

    def _is_active(self, campaign_id: str) -> bool:
        campaign = self._state.campaigns.get(campaign_id)
        return campaign is not None and campaign.status == ACTIVE

    def _happen(self, enrollment: Enrollment, fate: Fate) -> None:
        if fate.kind == "opted out":
            reason = "manual" if fate.manual else "opt_out_keyword"
            for ended in self._state.opt_out(enrollment.contact_id):
                self._emit("enrollment.unsubscribed", _ids(ended) | {"reason": reason})
            return
        reply: dict[str, Any] = {"contactId": enrollment.contact_id, "channel": "email" if fate.email else "linkedin"}
        if fate.email:
            reply["subject"] = fate.subject
        attributed = fate.kind == "replied"
        if attributed:
            self._state.enrollments.move(enrollment, REPLIED)
        reply["campaignId"] = enrollment.campaign_id if attributed else None
        reply["enrollmentId"] = enrollment.id if attributed else None
        self._emit("contact.replied", reply)

    def _emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        body = sample_body(event_type, data=data, company_id=self._config.company_id)
        self._deliverer.fire(event_type, body, copies_after_seconds=self._scenario.copies(self._random))


LIFE = web.AppKey("LIFE", Life)


async def life_context(app: web.Application, config: SandboxConfig) -> AsyncIterator[None]:
    """Give the app its life, and let the scenario run, from its start to its end."""
    app[LIFE] = life = Life(config, app[STATE], app[DELIVERER])
    if config.scenario is None:
        yield
        return
    running = asyncio.create_task(life.run())
    running.add_done_callback(_say_if_broken)
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _say_if_broken(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        _log.error("sandbox.scenario_broken", error=type(error).__name__)


def _ids(enrollment: Enrollment) -> dict[str, Any]:
    return {
        "enrollmentId": enrollment.id,
        "contactId": enrollment.contact_id,
        "campaignId": enrollment.campaign_id,
    }
