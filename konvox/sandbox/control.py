"""The sandbox's own paths, which Konvox does not have: make an event happen, and list the delivery attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib import resources
from math import prod
from random import Random
from typing import Any

from aiohttp import web

from konvox.samples import sample_body
from konvox.sandbox.auth import OWN_PATHS
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.delivery import DELIVERER, Deliverer, Delivery
from konvox.sandbox.envelope import answer, json_object, list_answer
from konvox.sandbox.rules import refuse
from konvox.sandbox.simulation import SIMULATION
from konvox.sandbox.state import STATE

FIRE_PATH = OWN_PATHS + "fire"
DELIVERIES_PATH = OWN_PATHS + "deliveries"
OPENAPI_PATH = OWN_PATHS + "openapi.json"

FIRE_FIELDS: Mapping[str, str] = {
    "event": "the event's name",
    "data": "its data, instead of a sample",
    "count": "how many different events; 1 by default",
    "copies": "how often each is delivered with the same body; 1 by default",
    "delay_seconds": "how long to wait before the first copy",
    "copy_delay_seconds": "how long to wait between copies, as in a late retry",
    "shuffle": "whether to deliver events in another order than they happened in",
    "wait": "whether to answer after every delivery has ended, with the outcomes",
}
"""The fields of a request to fire an event."""

_MOST = 100_000
_LONGEST_SECONDS = 3600


def fire_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each rule that a request to fire an event breaks, in words. Pure."""
    event_type = fields.get("event")
    if not isinstance(event_type, str) or not event_type.strip():
        yield 'event must name the event, such as "contact.replied"'
    if not isinstance(fields.get("data", {}), dict):
        yield "data must be an object"
    yield from _number_faults(fields)
    for name in ("shuffle", "wait"):
        if not isinstance(fields.get(name, False), bool):
            yield f"{name} must be true or false"
    unknown = sorted(set(fields) - set(FIRE_FIELDS))
    if unknown:
        yield f"unknown field {', '.join(unknown)}: there are {', '.join(FIRE_FIELDS)}"


def _number_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    numbers = {name: fields.get(name, 1) for name in ("count", "copies")}
    wrong = [name for name, number in numbers.items() if type(number) is not int or not 1 <= number <= _MOST]
    for name in wrong:
        yield f"{name} must be a whole number from 1 to {_MOST}"
    if not wrong and prod(numbers.values()) > _MOST:
        yield f"count times copies must not be more than {_MOST}"
    for name in ("delay_seconds", "copy_delay_seconds"):
        seconds = fields.get(name, 0)
        if type(seconds) not in {int, float} or not 0 <= seconds <= _LONGEST_SECONDS:
            yield f"{name} must be a number from 0 to {_LONGEST_SECONDS}"


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The control paths."""
    random = Random(config.seed)  # noqa: S311 - a repeatable order, no secret

    async def fire(request: web.Request) -> web.Response:
        """Make an event happen, once or several times, in order or not, now or later."""
        fields = await json_object(request)
        refuse(fire_faults(fields))
        event_type = fields["event"]
        request.app[SIMULATION].apply(event_type, fields.get("data") or {})
        request.app[STATE].commit()  # as everywhere, before an event is sent
        deliveries = _start_deliveries(request.app[DELIVERER], fields, config.company_id, random)
        result: dict[str, Any] = {"event": event_type, "deliveries": len(deliveries)}
        if not deliveries:
            result["note"] = f"no active webhook is subscribed to {event_type}: register one first"
        if fields.get("wait", False):
            result["outcomes"] = [await _outcome(delivery) for delivery in deliveries]
        return answer(result, status=202)

    async def list_deliveries(request: web.Request) -> web.Response:
        """List all attempts so far, the oldest first."""
        return list_answer([asdict(attempt) for attempt in request.app[STATE].attempts])

    async def openapi(_: web.Request) -> web.Response:
        """The API as an OpenAPI document, without the envelope."""
        return web.Response(body=openapi_document(), content_type="application/json")

    return [web.post(FIRE_PATH, fire), web.get(DELIVERIES_PATH, list_deliveries), web.get(OPENAPI_PATH, openapi)]


def _start_deliveries(
    deliverer: Deliverer, fields: Mapping[str, Any], company_id: str, random: Random
) -> list[Delivery]:
    """Start to deliver the events that a checked request to fire asks for."""
    event_type, started = fields["event"], datetime.now(UTC)
    # Timestamps a millisecond apart make them different events.
    moments = [started + timedelta(milliseconds=number) for number in range(fields.get("count", 1))]
    if fields.get("shuffle", False):
        random.shuffle(moments)
    delay_seconds, interval_seconds = fields.get("delay_seconds", 0), fields.get("copy_delay_seconds", 0)
    copies = [delay_seconds + interval_seconds * number for number in range(fields.get("copies", 1))]
    return [
        delivery
        for moment in moments
        for delivery in deliverer.fire(
            event_type,
            sample_body(event_type, data=fields.get("data"), company_id=company_id, timestamp=moment),
            copies_after_seconds=copies,
        )
    ]


def openapi_document() -> bytes:
    """The OpenAPI document of the API, a file of the package."""
    return resources.files("konvox").joinpath("openapi.json").read_bytes()


async def _outcome(delivery: Delivery) -> dict[str, Any]:
    await delivery.ended.wait()
    return {
        "webhook_id": delivery.webhook.id,
        "outcome": delivery.outcome,
        "attempts": [asdict(attempt) for attempt in delivery.attempts],
    }
