"""`konvox-hooks register`: register the receiver at Konvox for the events of the handlers, or say what differs."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from handlers.registry import Registry
from konvox_hooks.config.accounts import DEFAULT_ACCOUNT, settings_of_account
from konvox_hooks.config.api_client import API_SETTINGS, missing_settings
from konvox_hooks.config.env_file import ENV_FILE
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings, example_of, variable_of
from konvox_hooks.errors import NeedsAttention, UsageError
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.registration.plan import RegistrationPlan, masked
from konvox_hooks.registration.register import Options, RegistrationRequest, Result, carry_out, choose_token
from konvox_hooks.registration.subscriptions import load_registry, matched_events, wanted_events
from konvox_hooks.terminal.formatting import example, say, shown_line
from konvox_hooks.terminal.output import complain, print_json


@click.command(epilog=example("register --dry-run", "register", "register --add-missing", "register --rotate"))
@click.option("--dry-run", is_flag=True, help="Show what would be sent and what differs; register nothing.")
@click.option("--events", "names", metavar="A,B", help="Subscribe to these events instead of those of the handlers.")
@click.option("--add-missing", is_flag=True, help="Register a second webhook for the events that the first one lacks.")
@click.option("--rotate", is_flag=True, help="Make a new token, and register it beside the old one.")
@click.option("--write-env", is_flag=True, help="Write a new token or signing secret to .env instead of showing it.")
@click.option("--no-check", is_flag=True, help="Do not check first that the public URL leads to this receiver.")
@click.option(
    "--account", "--endpoint", "account", metavar="NAME", help="Register this account of KONVOX_ACCOUNTS_FILE."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(*, names: str | None, no_check: bool, account: str | None, as_json: bool, **flags: bool) -> None:
    """Tell Konvox where to send events: to KONVOX_PUBLIC_URL, with the first of KONVOX_HOOK_TOKENS.

    Subscribes to exactly the events that the handlers want. It compares with Konvox's webhooks first, so run it at
    every deploy. Before it registers anything, the public URL must prove that it leads to a receiver with this token.
    Without token and signature, it makes a token. Exit code 3: a person has something to do first.
    """
    options = Options(check=not no_check, account=account or DEFAULT_ACCOUNT, **flags)
    settings = settings_of_account(load_settings(), account)
    configure_logging(settings.log_level, settings.log_format)
    request = _registration_request(settings, names, options)
    result = asyncio.run(carry_out(settings, request, options))
    if as_json:
        print_json(_as_json(result, settings, options))
    else:
        _print(result, settings, options)
    _print_next_steps(result, request, settings, options)


def _registration_request(settings: Settings, names: str | None, options: Options) -> RegistrationRequest:
    """What to register.

    Raises:
        UsageError: a setting is missing, or there is no event to register.
    """
    if settings.public_url is None or settings.api_url is None or settings.api_key is None:
        raise missing_settings(settings, (*API_SETTINGS, "public_url"), purpose="to register", account=options.account)
    registry = Registry() if names is not None else load_registry(settings)
    events = _wanted(registry) if names is None else _named(names)
    return RegistrationRequest(
        settings.public_url, choose_token(settings, options), events, lambda name: bool(registry.matching(name))
    )


def _wanted(registry: Registry) -> list[str]:
    wanted = wanted_events(registry)
    if registry.has_wildcards:
        complain(
            "note: a handler with a wildcard gets the documented events that match it "
            f"({', '.join(matched_events(registry)) or 'none'}); name others with --events"
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


def _api_request(result: Result, settings: Settings, options: Options) -> dict[str, Any] | None:
    """The API request that a real run would send, for `--dry-run`; None if there is none."""
    if not options.dry_run or not result.due:
        return None
    body = {"url": masked(result.plan.url), "events": list(result.due), "active": True}
    return {"method": "POST", "path": settings.konvox_paths().webhooks, "body": body}


def _as_json(result: Result, settings: Settings, options: Options) -> dict[str, Any]:
    """The result for `--json`, with a new webhook counted as registered. Only `environment` may hold a secret."""
    plan = result.plan
    missing = [name for name in plan.missing if result.created_id is None or name not in result.due]
    return {
        "state": result.state,
        "url": masked(plan.url),
        "events": list(plan.events),
        "missing": missing,
        "extra": list(plan.extra),
        "inactive": plan.inactive,
        "webhook_ids": [*plan.webhook_ids, *([result.created_id] if result.created_id else [])],
        "old_webhook_ids": list(result.old_ids),
        "request": _api_request(result, settings, options),
        "environment": result.to_keep,
        "written": result.written,
    }


def _print(result: Result, settings: Settings, options: Options) -> None:
    plan = result.plan
    url, events = masked(plan.url), ", ".join(plan.events)
    if result.created_id is not None:
        say(shown_line(f"registered: {url} gets {', '.join(result.due)} (id {result.created_id})"))
        lines = [f"- {name}: delivered, not wanted" for name in plan.extra]
    elif plan.state == "registered":
        say(shown_line(f"already registered: {url} gets {events}; nothing to do"))
        lines = []
    elif plan.state == "differs":
        say(shown_line(f"registered differently: {url} (id {', '.join(plan.webhook_ids)})"))
        lines = _differences(plan)
    else:
        say(shown_line(f"not registered yet: {url}"))
        lines = _differences(plan)
    for line in lines:
        say(f"  {shown_line(line)}")
    if request := _api_request(result, settings, options):
        say(f"would send: {request['method']} {settings.api_url}{request['path']}")
        print_json(request["body"])
    for name, value in result.to_keep.items():
        say(f'{name} = "{value}"' if options.account else f"{name}={value}")


def _differences(plan: RegistrationPlan) -> list[str]:
    lines = ["! it is switched off"] if plan.inactive else []
    lines += [f"+ {name}: wanted, not delivered" for name in plan.missing]
    return lines + [f"- {name}: delivered, not wanted" for name in plan.extra]


def _print_next_steps(result: Result, request: RegistrationRequest, settings: Settings, options: Options) -> None:
    """Say on stderr what a person has to do.

    Raises:
        NeedsAttention: it must be done before Konvox delivers the wanted events.
    """
    if kept := _kept(result, "signing_secrets", options):
        scheme = options.name_of("signature")
        switch = f"; once its deliveries carry a signature, set {scheme} to its scheme (hmac-sha256, most likely)"
        complain(
            f"Konvox answered with a signing secret, and may not show it again: {kept}"
            + (switch if settings.signature == "off" else "")
        )
    if request.token_choice.is_new and options.dry_run:
        complain("a token would be made for this URL")
    kept = _kept(result, "hook_tokens", options)
    if kept and result.created_id is None:
        raise NeedsAttention(
            f"a token was made: {kept}. Nothing is registered yet, because no receiver has it: start the receiver with "
            "it, and run `konvox-hooks register` again (or once with --no-check, if it must be registered first)"
        )
    if kept and len(request.token_choice.tokens) > 1:
        complain(_rotation_steps(kept, result.old_ids))
    elif kept:
        complain(f"a token was made: {kept}. Start the receiver with it: until then it refuses Konvox's requests")
    if result.state == "differs":
        raise NeedsAttention(_how_to_align(result.plan, may_add=bool(result.plan.missing) and not result.created_id))


def _kept(result: Result, setting: str, options: Options) -> str:
    """Where a new secret is kept, in words; empty if there is none."""
    name = options.name_of(setting)
    if name in result.written:
        return f"{name} in {ENV_FILE} now holds it"
    if name not in result.to_keep:
        return ""
    where = (
        f"below [{options.account}] in the accounts file" if options.account else f"in its environment or {ENV_FILE}"
    )
    return f"keep {name}, which stdout shows only this time, for the receiver {where}"


def _rotation_steps(kept: str, old_ids: tuple[str, ...]) -> str:
    old = shown_line(", ".join(old_ids))
    meanwhile = (
        f"until then webhook {old} still delivers with the old one, and nothing is lost"
        if old_ids
        else "until then it refuses Konvox's requests, because nothing is registered with the old one"
    )
    ending = (
        f"delete webhook {old} in Konvox's dashboard; a day later, when no delivery is retried any more,"
        if old_ids
        else "at any time"
    )
    return (
        f"a new token was made: {kept}.\n"
        f"1. Restart the receiver with it: {meanwhile}.\n"
        "2. See with `konvox-hooks doctor` that the new one reaches the receiver.\n"
        f"3. Then {ending} remove the old tokens, and restart."
    )


def _how_to_align(plan: RegistrationPlan, *, may_add: bool) -> str:
    add = (
        ""
        if plan.inactive or not may_add
        else "; or `konvox-hooks register --add-missing` registers a second webhook for what is missing"
    )
    return (
        "Konvox documents no call to change a webhook: in its dashboard, give this one the events "
        f"{', '.join(plan.events)} and make it active, or delete it and run `konvox-hooks register` again{add}"
    )
