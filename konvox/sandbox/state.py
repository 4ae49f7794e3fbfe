"""What a sandbox remembers while it runs: nothing outlives it."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from konvox.samples import wire_timestamp

_ATTEMPTS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class RegisteredWebhook:
    """An endpoint to which events are delivered. Its URL may hold a token: it is answered, and never logged."""

    id: str
    url: str = field(repr=False)
    events: tuple[str, ...]
    active: bool
    created_at: str

    def as_json(self) -> dict[str, Any]:
        """The record as the API answers it. Its fields are [inferred] from the request's: none are documented."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "active": self.active,
            "createdAt": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver an event: it ended with a status, or with an error before there was one."""

    webhook_id: str
    event: str
    attempt: int
    status: int | None
    error: str | None
    time: str
    duration_ms: float

    @property
    def delivered(self) -> bool:
        """Whether the receiver took the event: 200 is documented, so nothing else counts."""
        return self.status == 200


class SandboxState:
    """One company's records."""

    def __init__(self) -> None:
        self.webhooks: list[RegisteredWebhook] = []
        self.attempts: deque[Attempt] = deque(maxlen=_ATTEMPTS_KEPT)

    def add_webhook(self, *, url: str, events: Sequence[str], active: bool) -> RegisteredWebhook:
        """Register an endpoint. The same URL may stand twice: Konvox documents no conflict for webhooks."""
        webhook = RegisteredWebhook(new_id(), url, tuple(events), active, now())
        self.webhooks.append(webhook)
        return webhook

    def subscribers(self, event_type: str) -> list[RegisteredWebhook]:
        """The active endpoints that asked for events of this type."""
        return [webhook for webhook in self.webhooks if webhook.active and event_type in webhook.events]


STATE = web.AppKey("STATE", SandboxState)


def new_id() -> str:
    """An id in the style of Konvox's own: opaque, and good in a URL."""
    return "cl" + secrets.token_hex(11)


def now() -> str:
    """This moment, as Konvox writes it."""
    return wire_timestamp(datetime.now(UTC))
