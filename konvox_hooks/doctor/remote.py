"""The checks of Konvox: the API and its key, the public URL, and the registered webhooks. Run by `examination`."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.registry import Registry
from konvox.api.backoff import CallRetries
from konvox.api.transport import Transport, access
from konvox.errors import (
    BadRequestError,
    ForbiddenError,
    KonvoxApiError,
    NotAnEnvelopeError,
    NotFoundError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from konvox.resources import Webhook
from konvox_hooks.config.api_client import API_SETTINGS, konvox_client
from konvox_hooks.config.settings import Settings, variable_of
from konvox_hooks.doctor.findings import Finding, Findings, Subject, fault, not_checked, ok, warning
from konvox_hooks.registration.plan import Survey, hook_url, registered_webhooks, survey
from konvox_hooks.registration.reachability import ReachError, check_reach
from konvox_hooks.registration.subscriptions import wanted_events

_AUTHENTICATION = ("hook_tokens", "signature", "signing_secrets")
_ONCE = CallRetries(attempts=1)


async def check_api(subject: Subject) -> Findings:
    """Check that Konvox answers, what the key may do, and that the webhooks match the handlers."""
    settings = subject.settings
    if wrong := subject.faulty("api_url", "api_key", "api_auth", "api_paths", "api_secret_fields"):
        yield not_checked("konvox api", f"{wrong} is wrong", "see above")
        return
    missing = [variable_of(name) for name in API_SETTINGS if getattr(settings, name) is None]
    if missing:
        message = f"{' and '.join(missing)} not set: `register` and `ctx.konvox` do not work"
        yield warning("konvox api", message, "set what is missing, if you want them to")
        return
    try:
        async with konvox_client(settings, retry=_ONCE) as client:
            webhooks = await registered_webhooks(client)
    except KonvoxApiError as error:
        yield fault("konvox api", str(error), _hint_for(error))
        return
    yield ok("konvox api", f"answers, and accepts the key; webhooks: {len(webhooks)}")
    yield await _scope(settings)
    for finding in _registration(subject, webhooks):
        yield finding


def _hint_for(error: KonvoxApiError) -> str:
    key, url = variable_of("api_key"), variable_of("api_url")
    if isinstance(error, UnauthorizedError):
        return f"put a valid key into {key}; {variable_of('api_auth')}=x-api-key sends it in the other header"
    if isinstance(error, ForbiddenError):
        return f"put a key that may read into {key}, or look at the plan's limits"
    if isinstance(error, (NotFoundError, NotAnEnvelopeError, UnexpectedStatusError)):
        return f"set {url} to where the Konvox API is, and {variable_of('api_paths')} if its paths are others"
    return f"see whether {url} is right and can be reached from here, and try again"


async def _scope(settings: Settings) -> Finding:
    """Find out what the key may do, without any effect at Konvox.

    This sends an empty registration, which Konvox must refuse: with 400 for a full key, with 403 for a read key. If
    Konvox checks the body before the scope, this takes a read key for a full one.
    """
    check, hint = "konvox key", f"put a key with full scope into {variable_of('api_key')}"
    try:
        await _send_empty_registration(settings)
    except BadRequestError:
        return ok(check, "full scope: it can register")
    except ForbiddenError as error:
        return warning(check, f"it may read, and not register: {error.message}", f"{hint}, to register")
    except KonvoxApiError as error:
        if error.status == 422:  # what many APIs answer where Konvox documents 400
            return ok(check, "full scope: it can register")
        return not_checked(check, f"its scope is unknown: {error}", "try again later")
    return warning(
        check,
        "full scope; but Konvox accepted a registration without URL and events",
        "look for it in Konvox's dashboard, and delete it",
    )


async def _send_empty_registration(settings: Settings) -> None:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    how = access(settings.api_url or "", key, auth=settings.api_auth, timeout_seconds=10)
    transport = Transport(how, session=None, retry=_ONCE)
    await transport.open()
    try:
        await transport.call("POST", settings.konvox_paths().webhooks, body={})
    finally:
        await transport.close()


async def check_public_url(subject: Subject) -> Findings:
    """Check that the public URL leads to a receiver with this token or signing secret."""
    check, settings = "public url", subject.settings
    if wrong := subject.faulty("public_url", "api_url", *_AUTHENTICATION):
        yield not_checked(check, f"{wrong} is wrong", "see above")
    elif settings.public_url is None:
        yield warning(check, f"{variable_of('public_url')} is not set", "set it to where Konvox reaches the receiver")
    elif not _has_authentication(settings):
        yield not_checked(check, "there is neither a token nor a signature", "see `authentication`")
    else:
        try:
            took_ms = await check_reach(settings.public_url, settings)
        except ReachError as error:
            yield fault(check, f"{settings.public_url}: {error.fault}", error.hint)
        else:
            yield ok(check, f"{settings.public_url} leads to this receiver, which answers in {took_ms:.0f} ms")


def _has_authentication(settings: Settings) -> bool:
    return bool(settings.hook_tokens) or settings.signature != "off"


def _registration(subject: Subject, webhooks: Sequence[Webhook]) -> list[Finding]:
    """Compare the events that Konvox delivers to the public URL with those that the handlers want."""
    check, settings = "registration", subject.settings
    if wrong := subject.faulty("public_url", *_AUTHENTICATION):
        return [not_checked(check, f"{wrong} is wrong", "see above")]
    if settings.public_url is None or not _has_authentication(settings):
        return [not_checked(check, "the URL to register is unknown", "see `public url` and `authentication`")]
    if subject.registry is None:
        return [not_checked(check, "the handlers cannot be loaded", "see `handlers`")]
    registry = subject.registry
    found = survey(
        webhooks,
        public_url=settings.public_url,
        urls=_accepted_urls(settings, settings.public_url),
        events=wanted_events(registry),
        # Without handlers all events are logged, so each event is wanted.
        is_wanted=lambda name: len(registry) == 0 or bool(registry.matching(name)),
    )
    return _compare(found, registry) or [
        ok(check, f"Konvox delivers {', '.join(found.delivered)}, as the handlers want")
    ]


def _accepted_urls(settings: Settings, public_url: str) -> list[str]:
    urls = [hook_url(public_url, token.get_secret_value()) for token in settings.hook_tokens]
    signed_only = settings.signature != "off" and not (settings.require_token and urls)
    return [*urls, hook_url(public_url, None)] if signed_only else urls


def _compare(found: Survey, registry: Registry) -> list[Finding]:
    """One finding for each difference. Pure."""
    check, findings = "registration", []

    def add(message: str, hint: str) -> None:
        findings.append(warning(check, message, hint))

    if not found.current:
        add("the first token's URL is not registered, or is switched off", "`konvox-hooks register`")
    for name in found.missing:
        handlers = ", ".join(handler.name for handler in registry.matching(name))
        # A registered URL needs the option to get further events; a new URL is registered with all of them.
        add(
            f"no subscription delivers {name}, which {handlers} wants",
            f"`konvox-hooks register{' --add-missing' if found.current else ''}`",
        )
    if found.extra:
        add(f"no handler wants {', '.join(found.extra)}, which Konvox delivers", "remove it in Konvox's dashboard")
    if found.doubled:
        add(
            f"{', '.join(found.doubled)} is delivered twice to one URL (the second is recognised as a duplicate)",
            "delete one of the webhooks in Konvox's dashboard",
        )
    if found.inactive:
        add(f"switched off: webhook {', '.join(found.inactive)}", "switch it on in Konvox's dashboard, or delete it")
    if found.old:
        add(
            f"webhook {', '.join(found.old)} still delivers with an old token",
            "once the first token's URL is registered and reaches the receiver, delete it in Konvox's dashboard; "
            "a day later, remove the old token",
        )
    if found.refused:
        add(
            f"webhook {', '.join(found.refused)} has a token that the receiver refuses, so its deliveries are lost",
            f"delete it in Konvox's dashboard, or put its token into {variable_of('hook_tokens')}",
        )
    return findings
