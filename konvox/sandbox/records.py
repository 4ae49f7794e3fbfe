"""The records of a sandbox, and how the API answers them. Frozen: a change is a new record in place of the old.

What Konvox documents about its records is in part only: the fields of a request are taken to be those of the record,
and everything else is [inferred]; what has a name or a figure stands in `konvox.inferred`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from konvox import inferred

ACTIVE, UNSUBSCRIBED = "active", "unsubscribed"
"""The status of a campaign that goes on and of a contact who may be written to, and of a contact who opted out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """An outreach campaign."""

    id: str
    name: str
    channel: str
    status: str = "draft"
    profile_id: str | None = None
    sender_identity_id: str | None = None
    created_at: str
    updated_at: str

    def as_json(self, targets_by_state: Mapping[str, int]) -> dict[str, Any]:
        """The record as the API answers it."""
        return {
            "id": self.id,
            "name": self.name,
            "channel": self.channel,
            "status": self.status,
            "profileId": self.profile_id,
            "senderIdentityId": self.sender_identity_id,
            "targetsByState": dict(targets_by_state),
            inferred.CREATED_AT_FIELD: self.created_at,
            inferred.UPDATED_AT_FIELD: self.updated_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person to write to."""

    id: str
    email: str
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None
    linkedin_url: str | None = None
    title: str | None = None
    status: str = ACTIVE
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record as the API answers it."""
        return {
            "id": self.id,
            "email": self.email,
            "firstName": self.first_name,
            "lastName": self.last_name,
            "companyName": self.company_name,
            "linkedinUrl": self.linkedin_url,
            "title": self.title,
            "status": self.status,
            inferred.CREATED_AT_FIELD: self.created_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderIdentity:
    """A sender address."""

    id: str
    local_part: str
    display_name: str | None = None
    address: str
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record as the API answers it, with warmup and daily limit data."""
        return {
            "id": self.id,
            "localPart": self.local_part,
            "displayName": self.display_name,
            inferred.SENDER_ADDRESS_FIELD: self.address,
            inferred.SENDER_DAILY_LIMIT_FIELD: inferred.FIRST_DAILY_LIMIT,
            inferred.SENDER_WARMUP_FIELD: dict(inferred.FIRST_WARMUP),
            inferred.CREATED_AT_FIELD: self.created_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An account on a channel; no secret of it is ever kept."""

    id: str
    name: str
    platform: str
    connection_method: str
    username: str | None = None
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record as the API answers it."""
        return {
            "id": self.id,
            "name": self.name,
            "platform": self.platform,
            "connectionMethod": self.connection_method,
            "username": self.username,
            inferred.CREATED_AT_FIELD: self.created_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWebhook:
    """An endpoint to which events are delivered. Its URL may hold a token: it is answered, and never logged."""

    id: str
    url: str = field(repr=False)
    events: tuple[str, ...]
    active: bool
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record as the API answers it."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "active": self.active,
            inferred.CREATED_AT_FIELD: self.created_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """A contact's way through a campaign. Konvox documents no call that shows one: events and counts do."""

    id: str
    campaign_id: str
    contact_id: str
    state: str = inferred.ENROLLED
