"""Tells a Slack channel about every reply: set `KONVOX_HANDLERS=handlers.slack` and `SLACK_WEBHOOK_URL`.

A model of a plug-in to copy: it has a secret, calls another service, and survives that service's bad days. A copy of
your own imports from `konvox_hooks` and `konvox_hooks.events`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from handlers import Context, Retry, on
from konvox.events import ContactReplied

_MOST_CHARACTERS = 200
"""How much of a value is shown."""


class SlackError(Exception):
    """Slack did not take the message, or is not set up. The text never holds the webhook's URL, which is a secret."""


@asynccontextmanager
async def lifespan() -> AsyncIterator[URL]:
    """Read the webhook's URL once, when the worker starts; handlers find it in `ctx.state`."""
    url = URL(os.environ.get("SLACK_WEBHOOK_URL", "").strip())
    if url.scheme not in {"https", "http"} or not url.host:
        raise SlackError(
            "handlers.slack needs SLACK_WEBHOOK_URL in the environment, a URL that starts with https://: "
            "make one at https://api.slack.com/messaging/webhooks"
        )
    yield url


@on(ContactReplied)
async def tell_slack(event: ContactReplied, ctx: Context) -> None:
    """Post one message for one reply, however often the event is delivered."""
    async with ctx.once("slack") as first:
        if first:
            await _post(ctx, message(event))


def message(event: ContactReplied) -> str:
    """The text for Slack, with `&`, `<` and `>` escaped: what the contact wrote mentions nobody and links nowhere.

    Konvox may leave any of it out.
    """
    reply = event.data
    channel = f" by {_escape(reply.channel)}" if reply.channel else ""
    subject = f": *{_escape(reply.subject)}*" if reply.subject else ""
    contact = f"contact {_escape(reply.contact_id)}" if reply.contact_id else "unknown contact"
    campaign = f"campaign {_escape(reply.campaign_id)}" if reply.campaign_id else "no campaign"
    return f"Reply{channel}{subject}\n{contact}, {campaign}"


def _escape(text: str) -> str:
    return text[:_MOST_CHARACTERS].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _post(ctx: Context, text: str) -> None:
    try:
        async with ctx.http.post(ctx.state, json={"text": text}, allow_redirects=False) as response:
            status, retry_after = response.status, response.headers.get("Retry-After")
    except aiohttp.ClientError as error:
        # Its text may hold the URL.
        raise SlackError(f"Slack cannot be reached: {type(error).__name__}") from None
    if status == 429:
        raise Retry(after=retry_after)
    if not 200 <= status < 300:
        raise SlackError(f"Slack answered {status}: see whether the webhook still exists")
