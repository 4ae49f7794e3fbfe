"""The state of a sandbox: one company's records, in memory and optionally in a file, and all delivery attempts."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from konvox.inferred import OPTED_OUT
from konvox.samples import wire_timestamp
from konvox.sandbox.enrollments import Enrollments
from konvox.sandbox.records import (
    ACTIVE,
    UNSUBSCRIBED,
    Campaign,
    Connection,
    Contact,
    Enrollment,
    RegisteredWebhook,
    SenderIdentity,
)
from konvox.sandbox.storage import StateFileError, Storage
from konvox.sandbox.tables import Table

_ATTEMPTS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to deliver an event. It ended with a status, or with an error before an answer."""

    webhook_id: str
    event: str
    attempt: int
    status: int | None
    error: str | None
    time: str
    duration_ms: float

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted the event. Konvox documents 200, and no other status counts."""
        return self.status == 200


class SandboxState:
    """One company's records, and the attempts, which the file never holds."""

    def __init__(self, storage: Storage | None = None) -> None:
        self._storage = storage
        self.campaigns = Table("campaign", Campaign, storage)
        self.contacts = Table("contact", Contact, storage)
        self.senders = Table("sender", SenderIdentity, storage)
        self.connections = Table("connection", Connection, storage)
        self.webhooks = Table("webhook", RegisteredWebhook, storage)
        self.enrollments = Enrollments(storage)
        self.attempts: deque[Attempt] = deque(maxlen=_ATTEMPTS_KEPT)
        self._contact_ids = {_same_email(contact.email): contact.id for contact in self.contacts}

    def add_webhook(self, *, url: str, events: Sequence[str], active: bool) -> RegisteredWebhook:
        """Register a webhook. Two may have the same URL, because Konvox documents no conflict for webhooks."""
        webhook = RegisteredWebhook(id=new_id(), url=url, events=tuple(events), active=active, created_at=now())
        self.webhooks.put(webhook)
        return webhook

    def subscribers(self, event_type: str) -> list[RegisteredWebhook]:
        """The active webhooks that are subscribed to events of this type."""
        return [webhook for webhook in self.webhooks if webhook.active and event_type in webhook.events]

    def contact_with(self, email: str) -> Contact | None:
        """The contact with this email, in upper or lower case, which is [inferred]."""
        return self.contacts.get(self._contact_ids.get(_same_email(email)))

    def add_contact(self, contact: Contact) -> None:
        """Add a contact whose email is new."""
        self.contacts.put(contact)
        self._contact_ids[_same_email(contact.email)] = contact.id

    def delete_campaign(self, campaign_id: str) -> None:
        """Delete a campaign and its enrollments."""
        self.campaigns.remove([campaign_id])
        self.enrollments.remove_campaign(campaign_id)

    def enroll_contacts(self, campaign: Campaign) -> list[Enrollment]:
        """Enroll every active contact that is not in the campaign yet."""
        fresh = [
            Enrollment(id=new_id(), campaign_id=campaign.id, contact_id=contact.id)
            for contact in self.contacts
            if contact.status == ACTIVE and not self.enrollments.is_enrolled(campaign.id, contact.id)
        ]
        for enrollment in fresh:
            self.enrollments.add(enrollment)
        return fresh

    def opt_out(self, contact_id: str) -> list[Enrollment]:
        """Unsubscribe a contact, from every campaign; returns the enrollments that were not unsubscribed before."""
        contact = self.contacts.get(contact_id)
        if contact is not None:
            self.contacts.put(replace(contact, status=UNSUBSCRIBED))
        return [
            self.enrollments.move(enrollment, OPTED_OUT)
            for enrollment in self.enrollments.of_contact(contact_id)
            if enrollment.state != OPTED_OUT
        ]

    def commit(self) -> None:
        """Write all changes to the file. Called before an answer or an event is sent."""
        if self._storage:
            self._storage.commit()


STATE = web.AppKey("STATE", SandboxState)


def open_storage(path: Path) -> tuple[Storage, SandboxState]:
    """Open a state file, and load its records.

    Raises:
        StateFileError: the file cannot be used. It is closed again.
    """
    storage = Storage(path)
    try:
        return storage, SandboxState(storage)
    except TypeError:
        storage.close()
        raise StateFileError(path, "it holds records that this sandbox does not know") from None
    except StateFileError:
        storage.close()
        raise


def new_id() -> str:
    """An id in the style of Konvox's: opaque, and safe in a URL."""
    return "cl" + secrets.token_hex(11)


def now() -> str:
    """This moment in Konvox's format."""
    return wire_timestamp(datetime.now(UTC))


def _same_email(email: str) -> str:
    return email.casefold()
