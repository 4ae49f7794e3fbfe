"""Tests of the registration plan: the URL, how it is shown, and what follows from Konvox's webhooks. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from konvox_hooks.registration.plan import (
    RegistrationPlan,
    Survey,
    hook_url,
    masked,
    plan_registration,
    register,
    registered_webhooks,
    survey,
)

ORIGIN = "https://hooks.example.com"
URL = f"{ORIGIN}/hooks/konvox/token-0123456789"
OLD_URL = f"{ORIGIN}/hooks/konvox/old-token-0123456789"


@dataclass(frozen=True)
class Known:
    """A webhook that Konvox lists."""

    events: Sequence[str]
    url: str = URL
    active: bool = True
    id: str = "wh1"


@dataclass
class Client:
    """Replaces `KonvoxClient`: it is its own `webhooks`."""

    known: list[Known] = field(default_factory=list)

    @property
    def webhooks(self) -> Client:
        """The calls about webhooks."""
        return self

    async def list(self) -> AsyncIterator[Known]:
        """Yield all webhooks."""
        for webhook in self.known:
            yield webhook

    async def register(self, *, url: str, events: Sequence[str], active: bool = True) -> Known:
        """Add a webhook."""
        self.known.append(Known(events, url, active, id="new"))
        return self.known[-1]


@pytest.mark.parametrize(
    ("public_url", "token", "url"),
    [
        ("https://hooks.example.com", "t", "https://hooks.example.com/hooks/konvox/t"),
        ("https://hooks.example.com/", "t", "https://hooks.example.com/hooks/konvox/t"),
        ("https://hooks.example.com:8443", None, "https://hooks.example.com:8443/hooks/konvox"),
        ("http://127.0.0.1:8080", "t", "http://127.0.0.1:8080/hooks/konvox/t"),
        ("http://[::1]:8080", None, "http://[::1]:8080/hooks/konvox"),
        ("http://localhost:8080", None, "http://localhost:8080/hooks/konvox"),
    ],
)
def test_the_hook_url(public_url: str, token: str | None, url: str) -> None:
    """The URL of a webhook has the path after the origin, and the token after the path."""
    assert hook_url(public_url, token) == url


@pytest.mark.parametrize(
    "public_url",
    [
        "http://hooks.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "ftp://hooks.example.com",
        "hooks.example.com",
        "https://",
        "https://hooks.example.com/path",
        "https://hooks.example.com?query",
        "https://hooks.example.com#fragment",
        "https://user:hidden@hooks.example.com",
        "https://hooks.example.com:port",
        "https://[::1",
        "",
    ],
)
def test_what_is_no_https_origin_is_refused(public_url: str) -> None:
    """A public URL that is no HTTPS origin is refused with what is expected, and its value is not repeated."""
    with pytest.raises(ValueError, match="this must") as caught:
        hook_url(public_url, "token-0123456789")
    assert "token-0123456789" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "https://hooks.example.com/hooks/konvox/••••"),
        ("https://hooks.example.com/hooks/konvox", "https://hooks.example.com/hooks/konvox"),
        ("https://user:token-0123456789@a.example/hooks/konvox", "https://a.example/hooks/••••"),
        ("https://a.example:8443/x?token-0123456789", "https://a.example:8443/••••"),
        ("https://a.example/hooks/token-0123456789/", "https://a.example/hooks/••••/"),
        ("https://a.example/?token-0123456789=/hooks/konvox", "https://a.example/"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example", "https://a.example"),
        ("https://[token-0123456789", "••••"),
    ],
)
def test_a_masked_url_shows_no_token(url: str, shown: str) -> None:
    """A token is not shown wherever it is in the URL, and a URL without one is shown whole."""
    assert masked(url) == shown
    assert "token-0123456789" not in shown


def test_the_plan_does_not_show_the_token() -> None:
    """The repr of a plan does not show the token."""
    assert "token-0123456789" not in repr(plan_registration([], url=URL, events=["a"]))


def test_an_unknown_url_is_to_be_created() -> None:
    """Where nothing or only other URLs are registered, every event is missing."""
    others = [Known(["a", "b"], url=URL + "0"), Known(["a", "b"], url="https://[broken")]
    expected = RegistrationPlan("create", URL, ("a", "b"), missing=("a", "b"))
    assert plan_registration([], url=URL, events=["b", "a", "b"]) == expected
    assert plan_registration(others, url=URL, events=["b", "a"]) == expected


def test_the_same_url_and_events_are_as_wanted() -> None:
    """A webhook with the same URL and events is as wanted, whatever their order and repetitions."""
    plan = plan_registration([Known(["b", "a", "b"])], url=URL, events=["a", "b"])
    assert plan == RegistrationPlan("registered", URL, ("a", "b"), webhook_ids=("wh1",))


@pytest.mark.parametrize(
    ("existing", "missing", "extra"),
    [
        (["a"], ("b",), ()),
        (["a", "b", "d", "c"], (), ("c", "d")),
        (["c"], ("a", "b"), ("c",)),
        ([], ("a", "b"), ()),
    ],
)
def test_other_events_differ(existing: list[str], missing: tuple[str, ...], extra: tuple[str, ...]) -> None:
    """Missing and unwanted events are told apart."""
    plan = plan_registration([Known(existing)], url=URL, events=["a", "b"])
    assert plan == RegistrationPlan("differs", URL, ("a", "b"), missing, extra, webhook_ids=("wh1",))


def test_one_that_is_switched_off_differs() -> None:
    """An inactive webhook delivers nothing, whatever its events are."""
    plan = plan_registration([Known(["a"], active=False)], url=URL, events=["a"])
    assert (plan.state, plan.missing, plan.inactive) == ("differs", ("a",), True)


def test_what_counts_is_what_all_registrations_of_the_url_deliver() -> None:
    """Two webhooks that deliver half of the events each are enough, and an inactive one adds nothing."""
    halves = [Known(["a"], id="wh1"), Known(["b"], id="wh2"), Known(["c"], active=False, id="wh3")]
    plan = plan_registration(halves, url=URL, events=["a", "b"])
    assert plan == RegistrationPlan("registered", URL, ("a", "b"), webhook_ids=("wh1", "wh2", "wh3"))


def test_what_a_wildcard_takes_is_not_too_much() -> None:
    """An event that somebody has subscribed by hand for a wildcard is no difference; another one is."""
    existing = [Known(["a.1", "a.2", "b.1"])]
    plan = plan_registration(existing, url=URL, events=["a.1"], is_wanted=lambda name: name.startswith("a."))
    assert (plan.state, plan.extra) == ("differs", ("b.1",))


@pytest.mark.parametrize(
    ("listed", "same"),
    [
        ("https://HOOKS.example.com/hooks/konvox/token-0123456789", True),
        ("https://hooks.example.com:443/hooks/konvox/token-0123456789", True),
        ("https://hooks.example.com:8443/hooks/konvox/token-0123456789", False),
        ("https://hooks.example.com/hooks/konvox/TOKEN-0123456789", False),
        ("https://hooks.example.com/hooks/konvox/token-0123456789/", False),
        ("https://hooks.example.com/hooks/konvox/token-0123456789?x=1", False),
        ("http://hooks.example.com/hooks/konvox/token-0123456789", False),
    ],
)
def test_which_urls_are_the_same(listed: str, same: bool) -> None:
    """Two URLs are the same if only the case of the host or a default port differs."""
    plan = plan_registration([Known(["a"], url=listed)], url=URL, events=["a"])
    assert plan.state == ("registered" if same else "create")


async def test_only_a_plan_to_create_is_carried_out() -> None:
    """Where the registration is as wanted, or differs, nothing is registered."""
    client = Client([Known(["a"])])
    for events in (["a"], ["b"]):
        assert await register(client, plan_registration(client.known, url=URL, events=events)) is None
    assert len(client.known) == 1


async def test_what_is_created_is_then_as_wanted() -> None:
    """After a registration the next look at Konvox finds the webhook as wanted."""
    client = Client()
    created = await register(client, plan_registration([], url=URL, events=["b", "a"]))
    assert created == Known(("a", "b"), id="new")
    assert plan_registration(await registered_webhooks(client), url=URL, events=["a", "b"]).state == "registered"


@pytest.mark.parametrize(
    ("existing", "due", "due_with_missing"),
    [
        ([], ("a", "b"), ("a", "b")),
        ([Known(["a", "b"])], (), ()),
        ([Known(["a"])], (), ("b",)),
        ([Known(["a", "c"])], (), ("b",)),
        ([Known(["a", "b", "c"])], (), ()),
        ([Known(["a"], active=False)], (), ()),
    ],
)
def test_what_is_due(existing: list[Known], due: tuple[str, ...], due_with_missing: tuple[str, ...]) -> None:
    """A known webhook gets its missing events if asked for, and nothing while it is switched off."""
    plan = plan_registration(existing, url=URL, events=["a", "b"])
    assert plan.to_register() == due
    assert plan.to_register(add_missing=True) == due_with_missing


async def test_the_missing_events_are_registered_beside() -> None:
    """A second webhook with the missing events delivers, together with the first, what is wanted."""
    client = Client([Known(["a"])])
    plan = plan_registration(client.known, url=URL, events=["a", "b", "c"])
    assert await register(client, plan, add_missing=True) == Known(("b", "c"), id="new")
    assert plan_registration(client.known, url=URL, events=["a", "b", "c"]).state == "registered"


def look(*existing: Known, urls: Sequence[str] = (URL, OLD_URL)) -> Survey:
    """The survey of a receiver that wants `a` and `b`, and accepts `w`."""
    return survey(existing, public_url=ORIGIN, urls=urls, events=["a", "b"], is_wanted=lambda name: name == "w")


@pytest.mark.parametrize(
    ("existing", "found"),
    [
        ([], Survey(missing=("a", "b"))),
        ([Known(["b", "a", "w"])], Survey(delivered=("a", "b", "w"), current=True)),
        ([Known(["a"]), Known(["b"], id="wh2")], Survey(delivered=("a", "b"), current=True)),
        ([Known(["a", "c"])], Survey(delivered=("a", "c"), missing=("b",), extra=("c",), current=True)),
        (
            [Known(["a", "b"]), Known(["b"], url=URL.replace("hooks.", "HOOKS."), id="wh2")],
            Survey(delivered=("a", "b"), doubled=("b",), current=True),
        ),
        ([Known(["a", "b"], active=False)], Survey(missing=("a", "b"), inactive=("wh1",))),
        ([Known(["a", "b"], url=OLD_URL)], Survey(delivered=("a", "b"), old=("wh1",))),
        (
            [Known(["a", "b"]), Known(["a", "b"], url=OLD_URL, id="wh2")],
            Survey(delivered=("a", "b"), old=("wh2",), current=True),
        ),
        (
            [
                Known(["a", "b"], url=f"{ORIGIN}/hooks/konvox/lost"),
                Known(["a"], url=f"{ORIGIN}/hooks/konvox", id="wh2"),
            ],
            Survey(missing=("a", "b"), refused=("wh1", "wh2")),
        ),
        (
            [
                Known(["a"], url=url)
                for url in ("https://b.example/hooks/konvox/x", f"{ORIGIN}/hooks/konvox2", "https://[")
            ],
            Survey(missing=("a", "b")),
        ),
    ],
)
def test_the_survey(existing: list[Known], found: Survey) -> None:
    """The survey covers all that is delivered to the receiver, whatever the token, and nothing that goes elsewhere."""
    assert look(*existing) == found
