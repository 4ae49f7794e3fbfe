"""What Konvox is to deliver to the receiver, compared with what is registered there.

An endpoint is a URL at which Konvox delivers; a webhook is one registration of it, with its events.
`registered_webhooks` asks Konvox what it has, `plan_registration` says what to do about one endpoint, and `register`
does it. `survey` looks at all endpoints of a receiver.

Called by `konvox-hooks register` and `doctor`. Pure, but for the two functions that call the API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from konvox.urls import masked_url, split_url
from konvox_hooks.config.urls import public_origin
from receiver.paths import HOOK_PATH, hook_path

_DEFAULT_PORTS = {"https": 443, "http": 80}


class RegisteredWebhook(Protocol):
    """What is asked of a webhook that Konvox lists; a `konvox.resources.Webhook` fits."""

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


WebhookT = TypeVar("WebhookT", bound=RegisteredWebhook)
WebhookT_co = TypeVar("WebhookT_co", bound=RegisteredWebhook, covariant=True)


class WebhookCalls(Protocol[WebhookT_co]):
    """The calls that registration makes; those of `KonvoxClient.webhooks` fit."""

    def list(self) -> AsyncIterator[WebhookT_co]:
        """Every webhook of the company."""

    async def register(self, *, url: str, events: Sequence[str], active: bool = True) -> WebhookT_co:
        """Subscribe a URL to events."""


class RegistrationClient(Protocol[WebhookT_co]):
    """What registration needs of an API client; a `KonvoxClient` fits."""

    @property
    def webhooks(self) -> WebhookCalls[WebhookT_co]:
        """The calls about webhooks."""


@dataclass(frozen=True, slots=True)
class RegistrationPlan:
    """What is wanted at one endpoint, what is registered there, and what follows from it.

    Attributes:
        state: `registered`: nothing to do; `create`: Konvox does not know the endpoint; `differs`: it knows the
            endpoint with other events, or switched off, and documents no call to change a webhook: a person has to.
        url: the endpoint. It may hold the token.
        events: the events that are wanted, sorted.
        missing: those of them that are not delivered.
        extra: events that are delivered and not wanted.
        inactive: whether all webhooks of the endpoint are switched off.
        webhook_ids: the webhooks of the endpoint.
    """

    state: Literal["registered", "create", "differs"]
    url: str = field(repr=False)
    events: tuple[str, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    inactive: bool = False
    webhook_ids: tuple[str, ...] = ()

    def to_register(self, *, add_missing: bool = False) -> tuple[str, ...]:
        """The events to register now; none where there is nothing to do, or a person has to do it.

        Args:
            add_missing: whether an endpoint that Konvox knows gets a second webhook for the events that it lacks. An
                endpoint that is switched off gets none: once it is switched on again, both would deliver.
        """
        if self.state == "create":
            return self.events
        return self.missing if add_missing and not self.inactive else ()


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that Konvox delivers to a receiver, at all its endpoints: there is one for each token.

    Attributes:
        delivered: the events that arrive.
        missing: events that are wanted and do not arrive.
        extra: events that arrive and are not wanted.
        doubled: events that two active webhooks of one endpoint deliver.
        inactive: webhooks that are switched off, by id.
        old: active webhooks with another token than the first, by id: a rotation that is not finished.
        refused: active webhooks at a path that the receiver answers with 404, by id.
        current: whether the endpoint that `register` would register is registered and active.
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
    """The endpoint to register: the hook's path at the receiver's public origin, and the token, if there is one.

    Raises:
        ValueError: `public_url` is no HTTPS origin, see `public_origin`. The message does not quote it.
    """
    return public_origin(public_url) + hook_path(token)


def masked(url: str) -> str:
    """An endpoint as it may be shown: without its token."""
    bare = url.endswith(HOOK_PATH) and not any(sign in url for sign in "@?#")
    return url if bare else masked_url(url)


def plan_registration(
    existing: Sequence[RegisteredWebhook],
    *,
    url: str,
    events: Sequence[str],
    is_wanted: Callable[[str], bool] | None = None,
) -> RegistrationPlan:
    """Compare what Konvox has for one endpoint with what is wanted.

    An endpoint may have several webhooks: what counts is what the active ones deliver together. The case of the host
    and a default port do not make another endpoint, because Konvox may write them in its own way.

    Args:
        existing: every webhook that Konvox lists.
        url: the endpoint.
        events: the events that it must get.
        is_wanted: whether another event may come all the same, because a handler's wildcard matches it.
    """
    wanted = tuple(sorted(set(events)))
    ours = webhooks_at(existing, url)
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


def webhooks_at(existing: Sequence[WebhookT], url: str) -> list[WebhookT]:
    """The webhooks of an endpoint."""
    return [webhook for webhook in existing if _endpoint(webhook.url) == _endpoint(url)]


def survey(
    existing: Sequence[RegisteredWebhook],
    *,
    public_url: str,
    urls: Sequence[str],
    events: Sequence[str],
    is_wanted: Callable[[str], bool],
) -> Survey:
    """Look at everything that Konvox delivers to a receiver.

    Args:
        existing: every webhook that Konvox lists.
        public_url: the receiver's origin.
        urls: the endpoints that the receiver accepts, the one to register first.
        events: the events that are wanted.
        is_wanted: whether another event may come all the same.
    """
    accepted = [_endpoint(url) for url in urls]
    here = [webhook for webhook in existing if _is_below(webhook.url, hook_url(public_url, None))]
    ours = [webhook for webhook in here if webhook.active and _endpoint(webhook.url) in accepted]
    delivered = {name for webhook in ours for name in webhook.events}
    counts = Counter((_endpoint(webhook.url), name) for webhook in ours for name in set(webhook.events))
    return Survey(
        delivered=tuple(sorted(delivered)),
        missing=tuple(sorted(set(events).difference(delivered))),
        extra=tuple(sorted(name for name in delivered.difference(events) if not is_wanted(name))),
        doubled=tuple(sorted({name for (_, name), count in counts.items() if count > 1})),
        inactive=tuple(webhook.id for webhook in here if not webhook.active),
        old=tuple(webhook.id for webhook in ours if _endpoint(webhook.url) != accepted[0]),
        refused=tuple(webhook.id for webhook in here if webhook.active and _endpoint(webhook.url) not in accepted),
        current=any(_endpoint(webhook.url) == accepted[0] for webhook in ours),
    )


async def registered_webhooks(client: RegistrationClient[WebhookT_co]) -> list[WebhookT_co]:
    """Every webhook that Konvox has for the company.

    Raises:
        KonvoxError: the call failed.
    """
    return [webhook async for webhook in client.webhooks.list()]


async def register(
    client: RegistrationClient[WebhookT_co], plan: RegistrationPlan, *, add_missing: bool = False
) -> WebhookT_co | None:
    """Carry out a plan: register what is due, and do nothing where nothing is.

    Args:
        client: the API client.
        plan: the plan.
        add_missing: see `RegistrationPlan.to_register`.

    Returns:
        The new webhook, or None where nothing was created.

    Raises:
        KonvoxError: the call failed. After a `ConflictError`, look again: somebody else may have just registered it.
    """
    events = plan.to_register(add_missing=add_missing)
    if not events:
        return None
    return await client.webhooks.register(url=plan.url, events=events, active=True)


def _endpoint(url: str) -> tuple[object, ...]:
    """What makes two URLs the same endpoint. One that cannot be read is the same as itself only."""
    parts = split_url(url)
    if parts is None:
        return (url,)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path, parts.query


def _is_below(url: str, top: str) -> bool:
    *origin, path, _ = _endpoint(url) if split_url(url) else ("", "")
    *top_origin, top_path, _ = _endpoint(top)
    return origin == top_origin and f"{path}/".startswith(f"{top_path}/")
