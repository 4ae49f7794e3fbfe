"""The sandbox's own paths, which Konvox does not have: make an event happen, and see what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from konvox.samples import sample_body
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.delivery import DELIVERER, Delivery
from konvox.sandbox.envelope import RefusedError, answer, json_object, list_answer
from konvox.sandbox.state import STATE

FIRE_PATH = "/sandbox/fire"
DELIVERIES_PATH = "/sandbox/deliveries"

_FIELDS = ("event", "data", "copies", "wait")
_MOST_COPIES = 100_000


def fire_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each rule that a request to fire an event breaks, in words. Pure."""
    event_type, copies = fields.get("event"), fields.get("copies", 1)
    if not isinstance(event_type, str) or not event_type.strip():
        yield 'event must name the event, such as "contact.replied"'
    if not isinstance(fields.get("data", {}), dict):
        yield "data must be an object"
    if not isinstance(copies, int) or isinstance(copies, bool) or not 1 <= copies <= _MOST_COPIES:
        yield f"copies must be a whole number from 1 to {_MOST_COPIES}"
    if not isinstance(fields.get("wait", False), bool):
        yield "wait must be true or false"
    unknown = sorted(set(fields) - set(_FIELDS))
    if unknown:
        yield f"unknown field {', '.join(unknown)}: there are {', '.join(_FIELDS)}"


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The control paths."""

    async def fire(request: web.Request) -> web.Response:
        """Make an event happen."""
        fields = await json_object(request)
        faults = list(fire_faults(fields))
        if faults:
            raise RefusedError(400, "; ".join(faults))
        event_type = fields["event"]
        body = sample_body(event_type, data=fields.get("data"), company_id=config.company_id)
        deliveries = request.app[DELIVERER].fire(event_type, body, copies=fields.get("copies", 1))
        result: dict[str, Any] = {"event": event_type, "deliveries": len(deliveries)}
        if not deliveries:
            result["note"] = f"no active webhook is subscribed to {event_type}: register one first"
        if fields.get("wait", False):
            result["outcomes"] = [await _outcome(delivery) for delivery in deliveries]
        return answer(result, status=202)

    async def list_deliveries(request: web.Request) -> web.Response:
        """Every attempt so far, the oldest first."""
        return list_answer([asdict(attempt) for attempt in request.app[STATE].attempts])

    return [web.post(FIRE_PATH, fire), web.get(DELIVERIES_PATH, list_deliveries)]


async def _outcome(delivery: Delivery) -> dict[str, Any]:
    await delivery.ended.wait()
    return {
        "webhook_id": delivery.webhook.id,
        "outcome": delivery.outcome,
        "attempts": [asdict(attempt) for attempt in delivery.attempts],
    }
