"""`konvox-hooks register`: subscribe the receiver to the events that the handlers want, or say what is different."""

from __future__ import annotations

import asyncio
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import click
from pydantic import SecretStr

from console.api_access import API_SETTINGS, konvox_client, missing_settings
from console.errors import NeedsAttention, UsageError
from console.logs import configure_logging
from console.output import complain, print_json
from console.settings import Settings, example_of, load_settings, variable_of
from handlers.loader import load
from handlers.registry import Registry
from konvox.events import EVENT_MODELS
from receiver.registration import RegistrationPlan, hook_url, masked, plan_registration, register, registered_webhooks


@dataclass(frozen=True, slots=True)
class Access:
    """Where Konvox's webhooks are, and where Konvox finds the receiver."""

    api_url: str
    webhooks_path: str
    public_url: str


@dataclass(frozen=True, slots=True)
class Result:
    """What was found and done.

    Attributes:
        plan: the comparison.
        created_id: Konvox's id of the new endpoint, if there is one.
        signing_secret: the secret that came with it; Konvox may tell it this once.
    """

    plan: RegistrationPlan
    created_id: str | None = None
    signing_secret: SecretStr | None = None


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be sent and what differs; register nothing.")
@click.option("--events", "names", metavar="A,B", help="Subscribe to these, whatever the handlers want.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(*, dry_run: bool, names: str | None, as_json: bool) -> None:
    """Tell Konvox where to send events: to KONVOX_PUBLIC_URL, with the first of KONVOX_HOOK_TOKENS.

    Subscribes to exactly the events that the loaded handlers want. What Konvox has is looked at first, so that this can
    be run at every deploy. Exit code 3: the URL is registered, but differently, and a person has to change that.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    access = _access(settings)
    registry = Registry() if names is not None else _load(settings)
    events = _wanted(registry) if names is None else _named(names)
    token = settings.hook_tokens[0].get_secret_value() if settings.hook_tokens else None
    url = hook_url(access.public_url, token)
    result = asyncio.run(_register(settings, registry, url, events, dry_run=dry_run))
    request = _request(result.plan, access) if dry_run and result.plan.state == "create" else None
    if as_json:
        print_json(_as_json(result, request))
    else:
        _print(result, request, access)
    if result.plan.state == "differs":
        raise NeedsAttention(_what_to_do(result.plan))


def _access(settings: Settings) -> Access:
    """What must be configured to register.

    Raises:
        UsageError: one line for each variable that is missing.
    """
    if settings.api_url is None or settings.api_key is None or settings.public_url is None:
        raise missing_settings(settings, (*API_SETTINGS, "public_url"), purpose="to register")
    settings.require_way_in()
    return Access(settings.api_url, settings.konvox_paths().webhooks, settings.public_url)


def _load(settings: Settings) -> Registry:
    # A module of handlers may print while it is imported; stdout is for the result.
    with redirect_stdout(sys.stderr):
        return load(settings.handlers).registry


def _wanted(registry: Registry) -> list[str]:
    """The events to subscribe to: those named in full, and the documented ones that wildcards match.

    Raises:
        UsageError: there is none.
    """
    matched = [name for name in EVENT_MODELS if registry.matching(name)]
    wanted = sorted({*registry.event_names(), *matched})
    if registry.has_wildcards:
        complain(
            "note: handlers with a wildcard get the documented events that it matches "
            f"({', '.join(matched) or 'none'}); name others with --events"
        )
    if not wanted:
        raise UsageError(
            f"no handler wants an event: set {variable_of('handlers')} (example: {variable_of('handlers')}="
            f"{example_of('handlers')}), or name events (example: --events contact.replied)"
        )
    return wanted


def _named(names: str) -> list[str]:
    events = sorted({name.strip() for name in names.split(",") if name.strip()})
    if not events:
        raise UsageError("--events names no event (example: --events contact.replied,enrollment.unsubscribed)")
    if any("*" in name for name in events):
        raise UsageError("--events takes full names, no wildcards (example: --events contact.replied)")
    return events


async def _register(settings: Settings, registry: Registry, url: str, events: list[str], *, dry_run: bool) -> Result:
    async with konvox_client(settings) as client:
        plan = plan_registration(
            await registered_webhooks(client),
            url=url,
            events=events,
            welcome=lambda name: bool(registry.matching(name)),
        )
        created = None if dry_run else await register(client, plan)
    if created is None:
        return Result(plan)
    secret = created.signing_secret
    return Result(plan, created.id, None if secret is None else SecretStr(secret))


def _request(plan: RegistrationPlan, access: Access) -> dict[str, Any]:
    body = {"url": masked(plan.url), "events": list(plan.events), "active": True}
    return {"method": "POST", "path": access.webhooks_path, "body": body}


def _as_json(result: Result, request: dict[str, Any] | None) -> dict[str, Any]:
    """What is now: an endpoint that was just created misses nothing any more."""
    plan = result.plan
    return {
        "state": "created" if result.created_id else plan.state,
        "url": masked(plan.url),
        "events": list(plan.events),
        "missing": [] if result.created_id else list(plan.missing),
        "extra": list(plan.extra),
        "inactive": plan.inactive,
        "webhook_ids": [result.created_id] if result.created_id else list(plan.webhook_ids),
        "request": request,
        "environment": _environment(result),
    }


def _environment(result: Result) -> dict[str, str]:
    """The variables to keep: the only place where a secret is shown, because Konvox may never show it again."""
    secret = result.signing_secret
    return {} if secret is None else {variable_of("signing_secrets"): secret.get_secret_value()}


def _print(result: Result, request: dict[str, Any] | None, access: Access) -> None:
    plan = result.plan
    events = ", ".join(plan.events)
    if result.created_id:
        click.echo(f"registered: {masked(plan.url)} gets {events} (id {_printable(result.created_id)})")
    elif plan.state == "registered":
        click.echo(f"already registered: {masked(plan.url)} gets {events}; nothing to do")
    elif plan.state == "differs":
        click.echo(_printable(f"registered differently: {masked(plan.url)} (id {', '.join(plan.webhook_ids)})"))
        _print_differences(plan)
    if request is not None:
        click.echo(f"not registered yet: {masked(plan.url)}")
        _print_differences(plan)
        click.echo(f"would send: {request['method']} {access.api_url}{request['path']}")
        print_json(request["body"])
    for variable, value in _environment(result).items():
        click.echo(f"{variable}={value}")
        complain(
            "Konvox answered with a signing secret, and may not show it again: keep the line above in the receiver's "
            f"environment or .env. Once its deliveries carry a signature, set {variable_of('signature')}=hmac-sha256"
        )


def _print_differences(plan: RegistrationPlan) -> None:
    lines = ["! it is switched off"] if plan.inactive else []
    lines += [f"+ {name}: wanted, not delivered" for name in plan.missing]
    lines += [f"- {name}: delivered, not wanted" for name in plan.extra]
    for line in lines:
        click.echo(f"  {_printable(line)}")


def _printable(text: str) -> str:
    """What Konvox says may neither break a line nor speak to the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _what_to_do(plan: RegistrationPlan) -> str:
    return (
        "Konvox documents no call to change a webhook: in its dashboard, give this one the events "
        f"{', '.join(plan.events)} and make it active, or delete it and run `konvox-hooks register` again"
    )
