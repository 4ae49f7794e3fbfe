"""The receiver's endpoint at Konvox: under which URL it is registered, whether it is as wanted, and what to do if not.

Called by `konvox-hooks register` and `doctor`. Pure, but for the two functions at the end, which call the API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from konvox.urls import is_loopback, masked_url

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


EndpointT = TypeVar("EndpointT", bound=Endpoint)
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

    def to_register(self, *, add_missing: bool = False) -> tuple[str, ...]:
        """The events of the registration that is due; none where a person has to act, or nobody.

        Args:
            add_missing: whether a URL that Konvox knows gets a second registration for the events that it lacks. Not
                where it is switched off: once it is switched on again, both would deliver.
        """
        if self.state == "create":
            return self.events
        return self.missing if add_missing and not self.inactive else ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What Konvox has for a receiver in all, whatever the token.

    Attributes:
        delivered: the events that arrive.
        missing: events that are wanted and do not arrive.
        extra: events that arrive and are not wanted.
        doubled: events that two active registrations of one URL deliver.
        inactive: registrations that are switched off, by id.
        old: active ones under another token than the first, by id: a rotation that is not finished.
        refused: active ones under a path that the receiver answers with 404, by id.
        current: whether the URL that `register` would register is registered and active.
    """

    delivered: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    current: bool = False


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
    bare = url.endswith(HOOK_PATH) and not any(sign in url for sign in "@?#")
    return url if bare else masked_url(url)


def plan_registration(
    existing: Sequence[Endpoint],
    *,
    url: str,
    events: Sequence[str],
    is_wanted: Callable[[str], bool] | None = None,
) -> RegistrationPlan:
    """Compare what Konvox has with what is wanted.

    A URL may be registered several times: what counts is what its active registrations deliver together. Case and a
    default port in the origin do not make another URL, as Konvox may write them in its own way.

    Args:
        existing: every endpoint that Konvox lists.
        url: the endpoint's URL.
        events: the events that it must get.
        is_wanted: whether an event that is not among them may come all the same, as a handler's wildcard matches it.
    """
    wanted = tuple(sorted(set(events)))
    ours = registered_at(existing, url)
    if not ours:
        return RegistrationPlan("create", url, wanted, missing=wanted)
    delivered = {name for webhook in ours if webhook.active for name in webhook.events}
    missing = tuple(name for name in wanted if name not in delivered)
    extra = tuple(sorted(name for name in delivered.difference(wanted) if is_wanted is None or not is_wanted(name)))
    return RegistrationPlan(
        state="differs" if missing or extra else "registered",
        url=url,
        events=wanted,
        missing=missing,
        extra=extra,
        inactive=not any(webhook.active for webhook in ours),
        webhook_ids=tuple(webhook.id for webhook in ours),
    )


def registered_at(existing: Sequence[EndpointT], url: str) -> list[EndpointT]:
    """What Konvox has under a URL."""
    return [webhook for webhook in existing if _place(webhook.url) == _place(url)]


def survey(
    existing: Sequence[Endpoint],
    *,
    public_url: str,
    urls: Sequence[str],
    events: Sequence[str],
    is_wanted: Callable[[str], bool],
) -> Survey:
    """Look at everything that Konvox delivers to a receiver.

    Args:
        existing: every endpoint that Konvox lists.
        public_url: the receiver's origin.
        urls: the URLs that the receiver accepts, the one to register first.
        events: the events that are wanted.
        is_wanted: whether an event that is not among them may come all the same.
    """
    accepted = [_place(url) for url in urls]
    here = [webhook for webhook in existing if _is_below(webhook.url, hook_url(public_url, None))]
    ours = [webhook for webhook in here if webhook.active and _place(webhook.url) in accepted]
    delivered = {name for webhook in ours for name in webhook.events}
    counts = Counter((_place(webhook.url), name) for webhook in ours for name in set(webhook.events))
    return Survey(
        delivered=tuple(sorted(delivered)),
        missing=tuple(sorted(set(events).difference(delivered))),
        extra=tuple(sorted(name for name in delivered.difference(events) if not is_wanted(name))),
        doubled=tuple(sorted({name for (_, name), count in counts.items() if count > 1})),
        inactive=tuple(webhook.id for webhook in here if not webhook.active),
        old=tuple(webhook.id for webhook in ours if _place(webhook.url) != accepted[0]),
        refused=tuple(webhook.id for webhook in here if webhook.active and _place(webhook.url) not in accepted),
        current=any(_place(webhook.url) == accepted[0] for webhook in ours),
    )


async def registered_webhooks(client: RegistrationClient[EndpointT_co]) -> list[EndpointT_co]:
    """What Konvox has.

    Raises:
        KonvoxError: the call failed.
    """
    return [webhook async for webhook in client.webhooks.list()]


async def register(
    client: RegistrationClient[EndpointT_co], plan: RegistrationPlan, *, add_missing: bool = False
) -> EndpointT_co | None:
    """Carry out a plan: register what is due, and do nothing where nothing is.

    Args:
        client: the API client.
        plan: the plan.
        add_missing: see `RegistrationPlan.to_register`.

    Returns:
        The new endpoint, or None where nothing was created.

    Raises:
        KonvoxError: the call failed. After a `ConflictError`, look again: somebody else may have just registered it.
    """
    events = plan.to_register(add_missing=add_missing)
    if not events:
        return None
    return await client.webhooks.register(url=plan.url, events=events, active=True)


def _place(url: str) -> tuple[object, ...]:
    """What makes two URLs the same; one that cannot be read is the same as itself only."""
    parts = _split(url)
    if parts is None:
        return (url,)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path, parts.query


def _is_below(url: str, top: str) -> bool:
    *origin, path, _ = _place(url) if _split(url) else ("", "")
    *top_origin, top_path, _ = _place(top)
    return origin == top_origin and f"{path}/".startswith(f"{top_path}/")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it is what checks it
    except ValueError:
        return None
    return parts
