"""The records of a sandbox, and their form in the API's answers. Frozen: a changed record replaces the old one.

Konvox documents its records only in part. A record has the fields of the request that creates it; all else is
[inferred], and the inferred names and figures are in `konvox.inferred`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from konvox import inferred

ACTIVE, UNSUBSCRIBED = "active", "unsubscribed"
"""The status of a running campaign and of a contact who may be written to; the status of a contact who opted out."""


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
        """The record in an answer of the API."""
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
        """The record in an answer of the API."""
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
        """The record in an answer of the API, with warmup and daily limit data."""
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
    """A login on a channel. Its secrets are never kept."""

    id: str
    name: str
    platform: str
    connection_method: str
    username: str | None = None
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record in an answer of the API."""
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
    """A registration for events. Its URL may hold a token: answers contain it, logs do not."""

    id: str
    url: str = field(repr=False)
    events: tuple[str, ...]
    active: bool
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record in an answer of the API."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "active": self.active,
            inferred.CREATED_AT_FIELD: self.created_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """A contact in a campaign. Konvox documents no call that returns one; it is visible in events and counts."""

    id: str
    campaign_id: str
    contact_id: str
    state: str = inferred.ENROLLED
