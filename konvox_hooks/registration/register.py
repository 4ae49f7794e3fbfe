"""Register the receiver at Konvox: look first, check that the URL reaches us, make a token, keep what is secret.

Called by `konvox-hooks register`, which says what came of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pydantic import SecretStr

from konvox.client import KonvoxClient
from konvox.errors import ConflictError
from konvox.resources import Webhook
from konvox_hooks.config.api_client import konvox_client
from konvox_hooks.config.env_file import EnvFileError, write_variables
from konvox_hooks.config.settings import Settings, variable_of
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.registration.plan import (
    RegistrationPlan,
    hook_url,
    plan_registration,
    register,
    registered_at,
    registered_webhooks,
)
from konvox_hooks.registration.reachability import check_reach, refuse_local, sandbox_is_local
from konvox_hooks.terminal.output import complain

ENV_FILE: Final = Path(".env")

_TOKEN_BYTES: Final = 32
"""256 bits: nobody guesses that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to go about it.

    Attributes:
        dry_run: look, and do nothing.
        add_missing: give a URL that Konvox knows a second registration, for the events that it lacks.
        rotate: make a new token, and register it beside those that there are.
        check: whether to make sure first that the URL reaches our receiver.
        write_env: whether to write secrets to `.env`.
        account: the account of KONVOX_ACCOUNTS_FILE that it is for; empty for the variables themselves.
    """

    dry_run: bool = False
    add_missing: bool = False
    rotate: bool = False
    check: bool = True
    write_env: bool = False
    account: str = ""

    def name_of(self, setting: str) -> str:
        """Under which name a secret is to be kept: a key of the account, or a variable."""
        return setting if self.account else variable_of(setting)


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """How Konvox is let in.

    Attributes:
        tokens: the URL tokens, the one to register first; none where only a signature lets in.
        is_new: whether the first was just made, so that no receiver has it yet.
    """

    tokens: tuple[SecretStr, ...]
    is_new: bool = False

    def url(self, public_url: str) -> str:
        """The URL to register."""
        return hook_url(public_url, self.tokens[0].get_secret_value() if self.tokens else None)

    def old_urls(self, public_url: str) -> list[str]:
        """The URLs of the other tokens."""
        return [hook_url(public_url, token.get_secret_value()) for token in self.tokens[1:]]


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What is to be registered.

    Attributes:
        public_url: the receiver's origin.
        way_in: how Konvox is let in.
        events: the events that are wanted.
        is_wanted: whether another event may come all the same.
    """

    public_url: str
    way_in: TokenChoice
    events: Sequence[str]
    is_wanted: Callable[[str], bool]


@dataclass(slots=True)
class Result:
    """What was found and done.

    Attributes:
        plan: the comparison.
        due: the events of the registration that was due; none where nothing was.
        created_id: Konvox's id of the new webhook, if there is one.
        old_ids: what Konvox delivers to under the other tokens.
        to_keep: settings that the receiver must have from now on, by `Options.name_of`; shown this once.
        written: those that were written to `.env` instead.
    """

    plan: RegistrationPlan
    due: tuple[str, ...] = ()
    created_id: str | None = None
    old_ids: tuple[str, ...] = ()
    to_keep: dict[str, str] = field(default_factory=dict, repr=False)
    written: list[str] = field(default_factory=list)

    @property
    def state(self) -> Literal["registered", "create", "differs", "created"]:
        """How things are now: the plan's state, or `created` where nothing is left to do after a registration."""
        if self.created_id is None:
            return self.plan.state
        return "differs" if self.plan.extra else "created"


def way_in_of(settings: Settings, options: Options) -> TokenChoice:
    """The tokens to use: those that are configured, behind a new one if it is asked for; a new one if nothing is there.

    Raises:
        UsageError: there is no token to rotate, or `.env` is not where the tokens stand.
    """
    tokens = tuple(settings.hook_tokens)
    if options.rotate and not tokens:
        raise UsageError(
            f"--rotate: {options.name_of('hook_tokens')} is not set, so there is no token to rotate; "
            "`konvox-hooks register` makes the first one where it is needed"
        )
    opened_by_signature = settings.signature != "off" and not settings.require_token
    if not options.rotate and (tokens or opened_by_signature):
        return TokenChoice(tokens)
    if options.write_env and not options.dry_run:
        _refuse_if_elsewhere(settings, "hook_tokens", options)
    return TokenChoice((SecretStr(secrets.token_urlsafe(_TOKEN_BYTES)), *tokens), is_new=True)


async def carry_out(settings: Settings, order: RegistrationRequest, options: Options) -> Result:
    """Look at what Konvox has, and register what is due.

    Raises:
        KonvoxError: a call failed.
        ReachError: the public URL does not lead to our receiver.
        Failed: Konvox refuses what is due as a conflict with something that is not there; or `.env` cannot be written.
    """
    async with konvox_client(settings) as client:
        existing = await registered_webhooks(client)
        plan = _compare(existing, order)
        result = Result(plan, plan.to_register(add_missing=options.add_missing), old_ids=_ids_of_old(existing, order))
        if not result.due or options.dry_run:
            return result
        checked = options.check and await _is_checked(settings, order)
        _keep_token(result, order.way_in, options)
        if options.check and not checked:
            return result
        webhook = await _register(client, order, result, options)
    if webhook is not None and webhook.signing_secret is not None:
        _keep_signing_secret(result, webhook.signing_secret, settings, options)
    return result


def _compare(existing: Sequence[Webhook], order: RegistrationRequest) -> RegistrationPlan:
    url = order.way_in.url(order.public_url)
    return plan_registration(existing, url=url, events=order.events, is_wanted=order.is_wanted)


def _ids_of_old(existing: Sequence[Webhook], order: RegistrationRequest) -> tuple[str, ...]:
    urls = order.way_in.old_urls(order.public_url)
    return tuple(webhook.id for url in urls for webhook in registered_at(existing, url) if webhook.active)


async def _is_checked(settings: Settings, order: RegistrationRequest) -> bool:
    """Check that the URL reaches our receiver; False where no receiver can hold the token yet.

    A new token is not known to the receiver, but one that it is to stand beside is.
    """
    if settings.hook_tokens or not order.way_in.is_new:
        await check_reach(order.public_url, settings)
        return True
    if not sandbox_is_local(settings):
        await refuse_local(order.public_url)
    return False


async def _register(
    client: KonvoxClient, order: RegistrationRequest, result: Result, options: Options
) -> Webhook | None:
    """Register what is due. A conflict means that somebody was faster, or that Konvox takes a URL once only."""
    try:
        webhook = await register(client, result.plan, add_missing=options.add_missing)
    except ConflictError as conflict:
        result.plan = _compare(await registered_webhooks(client), order)
        if result.plan.to_register(add_missing=options.add_missing):
            raise Failed(
                f"{conflict}. Konvox lists no webhook that delivers {', '.join(result.due)} to this URL: look for it "
                "in its dashboard, and give the webhook of this URL these events there"
            ) from None
        result.due = ()
        return None
    result.created_id = None if webhook is None else webhook.id
    return webhook


def _keep_token(result: Result, way_in: TokenChoice, options: Options) -> None:
    """Before it is registered: a URL that nobody has the token of is of no use."""
    if way_in.is_new:
        _keep(result, "hook_tokens", ",".join(token.get_secret_value() for token in way_in.tokens), options)


def _keep_signing_secret(result: Result, secret: str, settings: Settings, options: Options) -> None:
    """Before those that there are. It may never be told again: what cannot be written is shown."""
    known = [known.get_secret_value() for known in settings.signing_secrets]
    if secret in known:
        return
    value = ",".join([secret, *known])
    try:
        if options.write_env:
            _refuse_if_elsewhere(settings, "signing_secrets", options)
        _keep(result, "signing_secrets", value, options)
    except (EnvFileError, UsageError) as error:
        complain(str(error))
        result.to_keep[options.name_of("signing_secrets")] = value


def _keep(result: Result, setting: str, value: str, options: Options) -> None:
    name = options.name_of(setting)
    if options.write_env:
        write_variables(ENV_FILE, {name: value})
        result.written.append(name)
    else:
        result.to_keep[name] = value


def _refuse_if_elsewhere(settings: Settings, setting: str, options: Options) -> None:
    """Refuse to write to `.env` what counts from another place.

    Raises:
        UsageError: it stands in the environment, in a file of its own, or with its account.
    """
    if options.account:
        raise UsageError("--write-env: the secrets of an account stand in KONVOX_ACCOUNTS_FILE: change them there")
    variable = variable_of(setting)
    source = next(value.source for value in settings.effective() if value.variable == variable)
    if source in {"environment", "file"}:
        where = "the environment, which counts before .env" if source == "environment" else f"{variable}_FILE"
        raise UsageError(f"--write-env: {variable} comes from {where}: leave the option out, and change it there")
