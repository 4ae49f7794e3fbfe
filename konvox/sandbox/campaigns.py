"""`/api/campaigns`: list, create, get, update and delete. A campaign that becomes active enrolls the contacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from aiohttp import web

from konvox.resources import CampaignChannel, CampaignStatus, CampaignStatusChange
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import RefusedError, answer, json_object, list_answer
from konvox.sandbox.records import ACTIVE, Campaign
from konvox.sandbox.rules import choice_faults, refuse, text_faults
from konvox.sandbox.simulation import SIMULATION
from konvox.sandbox.state import STATE, SandboxState, new_id, now

_ATTRIBUTES = {
    "name": "name",
    "channel": "channel",
    "profileId": "profile_id",
    "senderIdentityId": "sender_identity_id",
    "status": "status",
}


def campaign_faults(fields: Mapping[str, Any], before: Campaign | None = None) -> Iterator[str]:
    """Each rule that a request breaks, in words: to create a campaign, or to update the one `before`. Pure."""
    update = before is not None
    if not update or "name" in fields:
        yield from text_faults(fields, "name", required=True)
    yield from choice_faults(fields, "channel", get_args(CampaignChannel), required=not update)
    yield from text_faults(fields, "profileId")
    yield from text_faults(fields, "senderIdentityId")
    if update:
        yield from choice_faults(fields, "status", get_args(CampaignStatusChange))
    channel = fields.get("channel", before.channel if before else None)
    sender = fields.get("senderIdentityId", before.sender_identity_id if before else None)
    if channel == "email" and not sender:
        yield "senderIdentityId is required for an email campaign"


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The calls of this resource."""

    async def list_campaigns(request: web.Request) -> web.Response:
        """Every campaign, the newest first."""
        refuse(choice_faults(request.query, "status", get_args(CampaignStatus)))
        status, state = request.query.get("status"), request.app[STATE]
        newest_first = reversed(state.campaigns)
        return list_answer([_json(state, campaign) for campaign in newest_first if status in {None, campaign.status}])

    async def create_campaign(request: web.Request) -> web.Response:
        """Create a campaign, as a draft."""
        fields = await json_object(request)
        refuse(campaign_faults(fields))
        moment = now()
        values = _values(fields) | {"status": "draft"}
        campaign = Campaign(id=new_id(), created_at=moment, updated_at=moment, **values)
        request.app[STATE].campaigns.put(campaign)
        return answer(_json(request.app[STATE], campaign), status=201)

    async def get_campaign(request: web.Request) -> web.Response:
        """One campaign."""
        return answer(_json(request.app[STATE], _found(request)))

    async def update_campaign(request: web.Request) -> web.Response:
        """Change the given fields. A campaign that becomes active enrolls all active contacts not yet in it."""
        fields = await json_object(request)
        before, state = _found(request), request.app[STATE]
        refuse(campaign_faults(fields, before))
        campaign = replace(before, updated_at=now(), **_values(fields))
        state.campaigns.put(campaign)
        if campaign.status == ACTIVE != before.status:
            request.app[SIMULATION].activate(campaign)
        return answer(_json(state, campaign))

    async def delete_campaign(request: web.Request) -> web.Response:
        """Delete a campaign and its enrollments, for good."""
        request.app[STATE].delete_campaign(_found(request).id)
        return answer({"success": True})

    path, one = config.paths.campaigns, config.paths.campaigns + "/{id}"
    return [
        web.get(path, list_campaigns),
        web.post(path, create_campaign),
        web.get(one, get_campaign),
        web.patch(one, update_campaign),
        web.delete(one, delete_campaign),
    ]


def _found(request: web.Request) -> Campaign:
    campaign = request.app[STATE].campaigns.get(request.match_info["id"])
    if campaign is None:
        raise RefusedError(404, "no such campaign")
    return campaign


def _values(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {attribute: fields[name] for name, attribute in _ATTRIBUTES.items() if name in fields}


def _json(state: SandboxState, campaign: Campaign) -> dict[str, Any]:
    return campaign.as_json(state.enrollments.targets_by_state(campaign.id))
