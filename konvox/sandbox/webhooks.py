"""`/api/webhooks`: list and register webhooks. Konvox documents no call to change or delete one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from aiohttp import web

from konvox.errors import InvalidUrlError
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import answer, json_object, list_answer
from konvox.sandbox.rules import refuse
from konvox.sandbox.state import STATE
from konvox.urls import check_web_url, masked_url

_log = structlog.get_logger()


def webhook_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each rule that a request to register a webhook breaks, in words. Pure."""
    yield from _url_faults(fields.get("url"))
    yield from _events_faults(fields.get("events"))
    if not isinstance(fields.get("active", True), bool):
        yield "active must be true or false"


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The calls of this resource."""

    async def list_webhooks(request: web.Request) -> web.Response:
        """List all webhooks of the company."""
        return list_answer([webhook.as_json() for webhook in request.app[STATE].webhooks])

    async def register_webhook(request: web.Request) -> web.Response:
        """Register a URL for events."""
        fields = await json_object(request)
        refuse(webhook_faults(fields))
        webhook = request.app[STATE].add_webhook(
            url=fields["url"], events=fields["events"], active=fields.get("active", True)
        )
        _log.info("sandbox.registered", webhook_id=webhook.id, url=masked_url(webhook.url), events=webhook.events)
        # [inferred]: this answer holds the secret, if there is one, and no other answer does.
        secret = {config.secret_field: config.signing_secret} if config.secret_field and config.signing_secret else {}
        return answer(webhook.as_json() | secret, status=201)

    return [web.get(config.paths.webhooks, list_webhooks), web.post(config.paths.webhooks, register_webhook)]


def _url_faults(url: Any) -> Iterator[str]:
    if url is None or url == "":
        yield "url is required"
    elif not isinstance(url, str):
        yield "url must be a text"
    else:
        try:
            check_web_url(url)
        except InvalidUrlError as error:
            yield f"url {error.fault}"


def _events_faults(events: Any) -> Iterator[str]:
    if events is None:
        yield "events is required"
    elif not isinstance(events, list) or not events:
        yield "events must be an array with at least one event name"
    elif not all(isinstance(name, str) and name.strip() for name in events):
        yield "events must hold names only, such as contact.replied, and none of them empty"
