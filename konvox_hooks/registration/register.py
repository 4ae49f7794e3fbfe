"""Register the receiver at Konvox: ask what is there, check that the URL reaches us, make a token, keep the secrets.

Called by `konvox-hooks register`, which prints the result. What is to be done is decided in `registration.plan`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import SecretStr

from konvox.client import KonvoxClient
from konvox.errors import ConflictError
from konvox.resources import Webhook
from konvox_hooks.config.api_client import konvox_client
from konvox_hooks.config.env_file import ENV_FILE, EnvFileError, write_variables
from konvox_hooks.config.settings import Settings, variable_of
from konvox_hooks.config.strength import is_weak
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.registration.plan import (
    RegistrationPlan,
    hook_url,
    plan_registration,
    register,
    registered_webhooks,
    webhooks_at,
)
from konvox_hooks.registration.reachability import check_reach, refuse_local, sandbox_is_local
from konvox_hooks.terminal.output import complain

_TOKEN_BYTES: Final = 32
"""256 bits, so nobody guesses a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command.

    Attributes:
        dry_run: compare, and change nothing.
        add_missing: give an endpoint that Konvox knows a second webhook, for the events that it lacks.
        rotate: make a new token, and register it beside the present ones.
        check: whether to check first that the public URL reaches our receiver.
        write_env: whether to write secrets to `.env`.
        account: an account of KONVOX_ACCOUNTS_FILE; empty for the account of the variables.
    """

    dry_run: bool = False
    add_missing: bool = False
    rotate: bool = False
    check: bool = True
    write_env: bool = False
    account: str = ""

    def name_of(self, setting: str) -> str:
        """The name of a setting where it is configured: a key in the accounts file, or a variable."""
        return setting if self.account else variable_of(setting)


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """The tokens of the receiver, and which of them to register.

    Attributes:
        tokens: the URL tokens, the one to register first; none where the signature is enough.
        is_new: whether the first was just made: no receiver has it yet.
    """

    tokens: tuple[SecretStr, ...]
    is_new: bool = False

    def url(self, public_url: str) -> str:
        """The endpoint to register."""
        return hook_url(public_url, self.tokens[0].get_secret_value() if self.tokens else None)

    def old_urls(self, public_url: str) -> list[str]:
        """The endpoints of the other tokens."""
        return [hook_url(public_url, token.get_secret_value()) for token in self.tokens[1:]]


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What is to be registered.

    Attributes:
        public_url: the receiver's origin.
        token_choice: the token to register, and the others.
        events: the events that are wanted.
        is_wanted: whether another event may come all the same.
    """

    public_url: str
    token_choice: TokenChoice
    events: Sequence[str]
    is_wanted: Callable[[str], bool]


@dataclass(slots=True)
class Result:
    """What was found and done.

    Attributes:
        plan: the comparison of what is wanted with what Konvox has.
        due: the events to register; none where nothing was to be done.
        created_id: Konvox's id of the new webhook, if there is one.
        old_ids: the active webhooks with the other tokens, by id.
        to_keep: secrets that the receiver needs from now on, by `Options.name_of`; they are shown this once.
        written: the names of those that were written to `.env` instead.
    """

    plan: RegistrationPlan
    due: tuple[str, ...] = ()
    created_id: str | None = None
    old_ids: tuple[str, ...] = ()
    to_keep: dict[str, str] = field(default_factory=dict, repr=False)
    written: list[str] = field(default_factory=list)

    @property
    def state(self) -> Literal["registered", "create", "differs", "created"]:
        """The state now: the plan's, or `created` where a registration has left nothing to do."""
        if self.created_id is None:
            return self.plan.state
        return "differs" if self.plan.extra else "created"


def choose_token(settings: Settings, options: Options) -> TokenChoice:
    """Choose the token to register: the first that is configured, or a new one.

    A token is made for `--rotate`, and where neither a token nor a signature is configured.

    Raises:
        UsageError: there is no token to rotate, or the tokens are configured in another place than `.env`.
    """
    tokens = tuple(settings.hook_tokens)
    if options.rotate and not tokens:
        raise UsageError(
            f"--rotate: {options.name_of('hook_tokens')} is not set, so there is no token to rotate; "
            "`konvox-hooks register` makes the first one where it is needed"
        )
    signature_is_enough = settings.signature != "off" and not settings.require_token
    if not options.rotate and (tokens or signature_is_enough):
        return TokenChoice(tokens)
    if options.write_env and not options.dry_run:
        _refuse_if_elsewhere(settings, "hook_tokens", options)
    return TokenChoice((SecretStr(secrets.token_urlsafe(_TOKEN_BYTES)), *tokens), is_new=True)


async def carry_out(settings: Settings, request: RegistrationRequest, options: Options) -> Result:
    """Ask Konvox what it has, and register what is missing.

    Raises:
        KonvoxError: a call failed.
        ReachError: the public URL does not lead to our receiver.
        Failed: Konvox reports a conflict with a webhook that it does not list; or `.env` cannot be written.
    """
    async with konvox_client(settings) as client:
        existing = await registered_webhooks(client)
        plan = _compare(existing, request)
        result = Result(plan, plan.to_register(add_missing=options.add_missing), old_ids=_ids_of_old(existing, request))
        if not result.due or options.dry_run:
            return result
        may_register = not options.check or await _reaches_receiver(settings, request)
        _keep_token(result, request.token_choice, options)
        if not may_register:
            return result
        webhook = await _register(client, request, result, options)
    if webhook is not None and webhook.signing_secret is not None:
        _keep_signing_secret(result, webhook.signing_secret, settings, options)
    return result


def _compare(existing: Sequence[Webhook], request: RegistrationRequest) -> RegistrationPlan:
    url = request.token_choice.url(request.public_url)
    return plan_registration(existing, url=url, events=request.events, is_wanted=request.is_wanted)


def _ids_of_old(existing: Sequence[Webhook], request: RegistrationRequest) -> tuple[str, ...]:
    urls = request.token_choice.old_urls(request.public_url)
    return tuple(webhook.id for url in urls for webhook in webhooks_at(existing, url) if webhook.active)


async def _reaches_receiver(settings: Settings, request: RegistrationRequest) -> bool:
    """Check that the public URL reaches our receiver; False where it cannot be checked, as no receiver has the token.

    The receiver does not know a new token; where it has others, it proves that it holds the first of these.

    Raises:
        ReachError: the public URL does not lead to our receiver.
    """
    if settings.hook_tokens or not request.token_choice.is_new:
        await check_reach(request.public_url, settings)
        return True
    if not sandbox_is_local(settings):
        await refuse_local(request.public_url)
    return False


async def _register(
    client: KonvoxClient, request: RegistrationRequest, result: Result, options: Options
) -> Webhook | None:
    """Register what is due. On a conflict somebody else was faster, or Konvox takes an endpoint only once."""
    try:
        webhook = await register(client, result.plan, add_missing=options.add_missing)
    except ConflictError as conflict:
        result.plan = _compare(await registered_webhooks(client), request)
        if result.plan.to_register(add_missing=options.add_missing):
            raise Failed(
                f"{conflict}. Konvox lists no webhook that delivers {', '.join(result.due)} to this URL: look for it "
                "in its dashboard, and give the webhook of this URL these events there"
            ) from None
        result.due = ()
        return None
    result.created_id = None if webhook is None else webhook.id
    return webhook


def _keep_token(result: Result, token_choice: TokenChoice, options: Options) -> None:
    """Keep a new token. Called before it is registered: an endpoint whose token nobody has is of no use."""
    if token_choice.is_new:
        _keep(result, "hook_tokens", ",".join(token.get_secret_value() for token in token_choice.tokens), options)


def _keep_signing_secret(result: Result, secret: str, settings: Settings, options: Options) -> None:
    """Keep a new signing secret, before the present ones.

    Konvox may never show it again: where it cannot be written, it is shown.
    """
    known = [known.get_secret_value() for known in settings.signing_secrets]
    if secret in known:
        return
    value = ",".join([secret, *known])
    if is_weak(secret):
        complain(
            f"{options.name_of('signing_secrets')}: Konvox answered with a signing secret that can be guessed, and the "
            "receiver would not start with it: it is shown, and not kept. Have Konvox make a longer one"
        )
        result.to_keep[options.name_of("signing_secrets")] = value
        return
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
        if mode := write_variables(ENV_FILE, {name: value}):
            complain(f"{ENV_FILE} was open to others ({mode:04o}); only its owner can read it now")
        result.written.append(name)
    else:
        result.to_keep[name] = value


def _refuse_if_elsewhere(settings: Settings, setting: str, options: Options) -> None:
    """Refuse to write a setting to `.env` that is configured in another place.

    Raises:
        UsageError: it comes from the environment, from a file of its own, or from the accounts file.
    """
    if options.account:
        raise UsageError("--write-env: the secrets of an account stand in KONVOX_ACCOUNTS_FILE: change them there")
    variable = variable_of(setting)
    source = next(value.source for value in settings.effective() if value.variable == variable)
    if source in {"environment", "file"}:
        where = "the environment, which counts before .env" if source == "environment" else f"{variable}_FILE"
        raise UsageError(f"--write-env: {variable} comes from {where}: leave the option out, and change it there")
