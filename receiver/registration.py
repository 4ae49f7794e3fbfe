"""The receiver's endpoint at Konvox: under which URL it is registered, whether it is as wanted, and what to do if not.

Called by `konvox-hooks register`. Pure, but for the two functions at the end, which call the API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from konvox.addresses import is_loopback, masked_url

HOOK_PATH = "/hooks/konvox"
"""Where the receiver listens; a token, if there is one, is the segment after it."""

_DEFAULT_PORTS = {"https": 443, "http": 80}


class Endpoint(Protocol):
    """What is asked of a webhook that Konvox lists."""

    @property
    def id(self) -> str:
        """Konvox's id of it."""

    @property
    def url(self) -> str:
        """Where events are delivered."""

    @property
    def events(self) -> Sequence[str]:
        """The events that are delivered."""

    @property
    def active(self) -> bool:
        """Whether any is delivered at all."""


EndpointT_co = TypeVar("EndpointT_co", bound=Endpoint, covariant=True)


class EndpointCalls(Protocol[EndpointT_co]):
    """The calls that registration makes; those of `KonvoxClient.webhooks` fit."""

    def list(self) -> AsyncIterator[EndpointT_co]:
        """Every endpoint of the company."""

    async def register(self, *, url: str, events: Sequence[str], active: bool = True) -> EndpointT_co:
        """Subscribe a URL to events."""


class RegistrationClient(Protocol[EndpointT_co]):
    """What registration needs of an API client; a `KonvoxClient` fits."""

    @property
    def webhooks(self) -> EndpointCalls[EndpointT_co]:
        """The calls about webhooks."""


@dataclass(frozen=True, slots=True)
class RegistrationPlan:
    """What is wanted, what is there, and what follows from it.

    Attributes:
        state: `registered`: nothing to do; `create`: Konvox does not know the URL; `differs`: it knows the URL, but not
            as it is wanted, and documents no call to change it: a person has to.
        url: the endpoint's URL. It may hold the token.
        events: the events that are wanted, sorted.
        missing: those of them that are not delivered to the URL.
        extra: events that are delivered to it and not wanted.
        inactive: whether the URL is registered and switched off.
        webhook_ids: what Konvox has under this URL.
    """

    state: Literal["registered", "create", "differs"]
    url: str = field(repr=False)
    events: tuple[str, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    inactive: bool = False
    webhook_ids: tuple[str, ...] = ()


def hook_url(public_url: str, token: str | None) -> str:
    """The URL to register: the receiver's path at its public origin, and the token, if there is one.

    Raises:
        ValueError: `public_url` is no HTTPS origin; plain HTTP passes for this machine only, so that a sandbox on it
            can deliver. The message does not quote it.
    """
    origin = public_url.rstrip("/")
    parts = _split(origin)
    if parts is None or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ValueError("the public URL must be an origin: scheme, host and, if need be, a port")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError("the public URL must begin with https:// (http:// is for this machine only)")
    return f"{origin}{HOOK_PATH}" if token is None else f"{origin}{HOOK_PATH}/{token}"


def masked(url: str) -> str:
    """An endpoint's URL as it may be shown: without the token that lets Konvox in."""
    return url if url.endswith(HOOK_PATH) and "@" not in url else masked_url(url)


def plan_registration(
    existing: Sequence[Endpoint],
    *,
    url: str,
    events: Sequence[str],
    welcome: Callable[[str], bool] | None = None,
) -> RegistrationPlan:
    """Compare what Konvox has with what is wanted.

    A URL may be registered several times: what counts is what its active registrations deliver together. Case and a
    default port in the origin do not make another URL, as Konvox may write them in its own way.

    Args:
        existing: every endpoint that Konvox lists.
        url: the endpoint's URL.
        events: the events that it must get.
        welcome: whether an event that is not among them may come all the same, as a handler's wildcard matches it.
    """
    wanted = tuple(sorted(set(events)))
    ours = [webhook for webhook in existing if _place(webhook.url) == _place(url)]
    if not ours:
        return RegistrationPlan("create", url, wanted, missing=wanted)
    delivered = {name for webhook in ours if webhook.active for name in webhook.events}
    missing = tuple(name for name in wanted if name not in delivered)
    extra = tuple(sorted(name for name in delivered.difference(wanted) if welcome is None or not welcome(name)))
    return RegistrationPlan(
        state="differs" if missing or extra else "registered",
        url=url,
        events=wanted,
        missing=missing,
        extra=extra,
        inactive=not any(webhook.active for webhook in ours),
        webhook_ids=tuple(webhook.id for webhook in ours),
    )


async def registered_webhooks(client: RegistrationClient[EndpointT_co]) -> list[EndpointT_co]:
    """What Konvox has.

    Raises:
        KonvoxError: the call failed.
    """
    return [webhook async for webhook in client.webhooks.list()]


async def register(client: RegistrationClient[EndpointT_co], plan: RegistrationPlan) -> EndpointT_co | None:
    """Carry out a plan: register the endpoint if it is to be created, and do nothing otherwise.

    Returns:
        The new endpoint, or None where nothing was created.

    Raises:
        KonvoxError: the call failed.
    """
    if plan.state != "create":
        return None
    return await client.webhooks.register(url=plan.url, events=plan.events, active=True)


def _place(url: str) -> tuple[object, ...]:
    """What makes two URLs the same; one that cannot be read is the same as itself only."""
    parts = _split(url)
    if parts is None:
        return (url,)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path, parts.query


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it is what checks it
    except ValueError:
        return None
    return parts
