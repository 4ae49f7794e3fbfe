"""`konvox-hooks trigger`: a sample event, sent to the receiver as Konvox would send it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import click
import orjson

from konvox.envelope import event_id, parse_envelope
from konvox.samples import sample_body
from konvox.schemes import SCHEMES, Delivery
from konvox_hooks.config.accounts import settings_of_account
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.network import listening_hosts
from konvox_hooks.config.settings import Settings, variable_of
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.registration.plan import masked
from konvox_hooks.terminal.output import print_table
from receiver.paths import hook_path

_TIMEOUT_SECONDS = 10.0
"""What Konvox grants a receiver."""

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on every address is reached


class Answer(NamedTuple):
    """One row of the result."""

    status: int
    result: str
    event: str


@click.command()
@click.argument("event")
@click.option("--data", metavar="JSON", help="The event's data, a JSON object, instead of a sample of its type.")
@click.option("--copies", type=click.IntRange(min=1), default=1, show_default=True, help="Send the same body N times.")
@click.option(
    "--url",
    help="Where to send it instead of KONVOX_HOST:KONVOX_PORT. An origin gets the path and the token added.",
)
@click.option(
    "--account", "--endpoint", "account", metavar="NAME", help="Send it to this account of KONVOX_ACCOUNTS_FILE."
)
def command(*, event: str, data: str | None, copies: int, url: str | None, account: str | None) -> None:
    """Send a sample event to the receiver, as Konvox would.

    It goes to the path with the first of KONVOX_HOOK_TOKENS, and is signed when KONVOX_SIGNATURE is configured. Each
    call makes a new event; --copies repeats it, as retries do. Exit code 0: each copy was answered with 200.
    """
    settings = settings_of_account(load_settings(), account)
    if not event.strip():
        raise UsageError("the event's name is empty (example: konvox-hooks trigger contact.replied)")
    target = _target(settings, url)
    body = sample_body(event, data=None if data is None else _object(data))
    answers = asyncio.run(_send(target, body, _headers(settings, body), copies))
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
    """Where to send: the URL as it is given, or the receiver's path at that origin or at the configured one."""
    target = url or own_origin(settings)
    try:
        parts = urlsplit(target)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("--url is no URL of a receiver (example: --url http://127.0.0.1:8080)")
    if parts.path.strip("/"):
        return target
    settings.require_way_in()
    token = settings.hook_tokens[0].get_secret_value() if settings.hook_tokens else None
    return target.rstrip("/") + hook_path(token)


def own_origin(settings: Settings) -> str:
    """Where the receiver listens, as this machine reaches it.

    Raises:
        UsageError: it takes any free port, so nobody knows.
    """
    if settings.port == 0:
        raise UsageError(f"{variable_of('port')} is 0, any free port: name the one that the receiver logged with --url")
    first, *_ = listening_hosts(settings.host)
    host = _ANY_ADDRESS.get(first, first)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _headers(settings: Settings, body: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if settings.signature != "off":
        delivery = Delivery(body, message_id=f"msg_{uuid4().hex}", now_seconds=int(time.time()))
        secret = settings.signing_secrets[0].get_secret_value()
        headers |= SCHEMES[settings.signature].sign(delivery, header=settings.signature_header, secret=secret)
    return headers


async def _send(target: str, body: bytes, headers: Mapping[str, str], copies: int) -> list[Answer]:
    """Send the copies one after the other, so that the first is the one that is accepted."""
    own_id = event_id(parse_envelope(body))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        try:
            return [await _send_one(session, target, body, own_id) for _ in range(copies)]
        except TimeoutError:
            why = f"no answer within {_TIMEOUT_SECONDS:g} s"
        except aiohttp.ClientConnectorError:
            why = "cannot connect; is it running? `konvox-hooks serve` starts one"
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp's own words may quote the URL, and with it the token.
            why = f"the request failed ({type(error).__name__})"
    raise Failed(f"{masked(target)}: {why}")


async def _send_one(session: aiohttp.ClientSession, target: str, body: bytes, own_id: str) -> Answer:
    async with session.post(target, data=body, allow_redirects=False) as response:
        said = _json_or_nothing(await response.read())
        result = said.get("status") or said.get("error") or response.reason or ""
        return Answer(response.status, str(result), str(said.get("id") or own_id))


def _json_or_nothing(body: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
