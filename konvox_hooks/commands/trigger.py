"""`konvox-hooks trigger`: send a sample event to the receiver as Konvox would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import click
import orjson

from konvox.envelope import event_id, parse_envelope
from konvox.proxies import open_session
from konvox.samples import sample_body
from konvox.schemes import SCHEMES, Delivery
from konvox_hooks.config.accounts import settings_of_account
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.own_origin import own_origin
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.registration.plan import masked
from konvox_hooks.terminal.output import print_table
from receiver.paths import hook_path

_TIMEOUT_SECONDS = 10.0
"""How long Konvox waits for a receiver's answer."""


class Answer(NamedTuple):
    """One row of the table: the receiver's answer to one copy."""

    status: int
    result: str
    event: str


@click.command()
@click.argument("event")
@click.option("--data", metavar="JSON", help="The event's data, a JSON object, instead of a sample of its type.")
@click.option("--copies", type=click.IntRange(min=1), default=1, show_default=True, help="Send the same body N times.")
@click.option(
    "--url",
    help="Where to send it instead of KONVOX_HOST:KONVOX_PORT. Path and token are added to an origin.",
)
@click.option(
    "--account", "--endpoint", "account", metavar="NAME", help="Send it to this account of KONVOX_ACCOUNTS_FILE."
)
def command(*, event: str, data: str | None, copies: int, url: str | None, account: str | None) -> None:
    """Send a sample event to the receiver as Konvox would.

    The URL holds the first of KONVOX_HOOK_TOKENS, and the request is signed if KONVOX_SIGNATURE is set. Each call makes
    a new event; --copies repeats its request, as Konvox does in a retry. Exit code 0: the receiver answered 200 to each
    copy.
    """
    settings = settings_of_account(load_settings(), account)
    if not event.strip():
        raise UsageError("the event's name is empty (example: konvox-hooks trigger contact.replied)")
    target = _target(settings, url)
    body = sample_body(event, data=None if data is None else _object(data))
    new_session = aiohttp.ClientSession if url is None else open_session  # our own receiver is behind no proxy
    answers = asyncio.run(_send(new_session, target, body, _headers(settings, body), copies))
    print_table(("STATUS", "RESULT", "EVENT"), answers)
    refused = sum(answer.status != 200 for answer in answers)
    if refused:
        raise Failed(f"{refused} of {copies} not accepted by {masked(target)}: the table says why")


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--data is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError('--data must be a JSON object (example: --data \'{"contactId": "clcontact001"}\')')
    return value


def _target(settings: Settings, url: str | None) -> str:
    """The URL to send to: as given if it has a path, otherwise the receiver's path and token at this origin."""
    target = url or own_origin(settings)
    try:
        parts = urlsplit(target)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("--url is not a receiver's URL (example: --url http://127.0.0.1:8080)")
    if parts.path.strip("/"):
        return target
    settings.require_authentication()
    token = settings.hook_tokens[0].get_secret_value() if settings.hook_tokens else None
    return target.rstrip("/") + hook_path(token)


def _headers(settings: Settings, body: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if settings.signature != "off":
        delivery = Delivery(body, message_id=f"msg_{uuid4().hex}", now_seconds=int(time.time()))
        secret = settings.signing_secrets[0].get_secret_value()
        headers |= SCHEMES[settings.signature].sign(delivery, header=settings.signature_header, secret=secret)
    return headers


async def _send(
    new_session: Callable[..., aiohttp.ClientSession], target: str, body: bytes, headers: Mapping[str, str], copies: int
) -> list[Answer]:
    """Send the copies one after the other: the first is accepted, the others are duplicates."""
    own_id = event_id(parse_envelope(body))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with new_session(timeout=timeout, headers=headers) as session:
        try:
            return [await _send_one(session, target, body, own_id) for _ in range(copies)]
        except TimeoutError:
            reason = f"no answer within {_TIMEOUT_SECONDS:g} s"
        except aiohttp.ClientConnectorError:
            reason = "cannot connect; is the receiver running? `konvox-hooks serve` starts one"
        except (aiohttp.ClientError, OSError) as error:
            # Without aiohttp's own message, which may quote the URL and its token.
            reason = f"the request failed ({type(error).__name__})"
    raise Failed(f"{masked(target)}: {reason}")


async def _send_one(session: aiohttp.ClientSession, target: str, body: bytes, own_id: str) -> Answer:
    async with session.post(target, data=body, allow_redirects=False) as response:
        answer = _json_object_or_empty(await response.read())
        result = answer.get("status") or answer.get("error") or response.reason or ""
        return Answer(response.status, str(result), str(answer.get("id") or own_id))


def _json_object_or_empty(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
