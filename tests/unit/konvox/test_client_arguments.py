"""Tests of arguments that are refused before anything is sent; a client without a session could not send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.api.checks import local_part, path_segment, webhook_url
from konvox.client import KonvoxClient
from konvox.errors import InvalidArgumentError, KonvoxApiError

KEY = "kvx_live_0123456789abcdef"

# Any: most of these calls are wrong by their types, too.
Invocation = Callable[[Any], Awaitable[Any]]

REFUSED: list[tuple[str, Invocation]] = [
    ("status", lambda k: k.campaigns.list_page(status="archived")),
    ("campaign_id", lambda k: k.campaigns.get("")),
    ("campaign_id", lambda k: k.campaigns.get(None)),
    ("campaign_id", lambda k: k.campaigns.get("..")),
    ("campaign_id", lambda k: k.campaigns.delete(".")),
    ("campaign_id", lambda k: k.campaigns.delete(" ")),
    ("campaign_id", lambda k: k.campaigns.get("\ud800")),
    ("name", lambda k: k.campaigns.create(name=" ", channel="multi")),
    ("channel", lambda k: k.campaigns.create(name="Spring", channel="fax")),
    ("channel", lambda k: k.campaigns.create(name="Spring", channel=None)),
    ("sender_identity_id", lambda k: k.campaigns.create(name="Spring", channel="email")),
    ("status", lambda k: k.campaigns.update("c", status="draft")),
    ("name", lambda k: k.campaigns.update("c", name="")),
    ("", lambda k: k.campaigns.update("c")),
    ("", lambda k: k.campaigns.update("c", name="\ud800")),
    ("status", lambda k: k.contacts.list_page(status="gone")),
    ("limit", lambda k: k.contacts.list_page(limit=0)),
    ("limit", lambda k: k.contacts.list_page(limit=201)),
    ("limit", lambda k: k.contacts.list_page(limit=True)),
    ("offset", lambda k: k.contacts.list_page(offset=-1)),
    ("email", lambda k: k.contacts.create(email="")),
    ("local_part", lambda k: k.sender_identities.create(local_part="Ada")),
    ("name", lambda k: k.connections.create(name="", platform="email", connection_method="oauth_page")),
    (
        "platform",
        lambda k: k.connections.create(name="x", platform="fax", connection_method="oauth_page"),
    ),
    (
        "connection_method",
        lambda k: k.connections.create(name="x", platform="email", connection_method="carrier"),
    ),
    (
        "disclaimer_accepted",
        lambda k: k.connections.create(name="x", platform="linkedin", connection_method="socialcrabs"),
    ),
    (
        "disclaimer_accepted",
        lambda k: k.connections.create(
            name="x", platform="linkedin", connection_method="socialcrabs", disclaimer_accepted=False
        ),
    ),
    ("url", lambda k: k.webhooks.register(url="http://example.com/hooks", events=["a.b"])),
    ("events", lambda k: k.webhooks.register(url="https://example.com/hooks", events=[])),
    ("events", lambda k: k.webhooks.register(url="https://example.com/hooks", events=["a.b", " "])),
    ("events", lambda k: k.webhooks.register(url="https://example.com/hooks", events="contact.replied")),
]


@pytest.mark.parametrize(("argument", "invoke"), REFUSED)
async def test_what_konvox_would_refuse_is_not_sent(argument: str, invoke: Invocation) -> None:
    """The error for a wrong argument names it, and is both a KonvoxApiError and a ValueError."""
    with pytest.raises(InvalidArgumentError) as raised:
        await invoke(KonvoxClient("https://konvox.example", KEY))
    assert raised.value.argument == argument
    assert "not open" not in str(raised.value)
    assert isinstance(raised.value, KonvoxApiError)
    assert isinstance(raised.value, ValueError)


def test_a_filter_is_checked_before_the_iteration() -> None:
    """A wrong filter fails when the list is asked for, not when the iteration begins."""
    client: Any = KonvoxClient("https://konvox.example", KEY)
    with pytest.raises(InvalidArgumentError):
        client.contacts.list(status="gone")
    with pytest.raises(InvalidArgumentError):
        client.campaigns.list(status="gone")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hooks/konvox/token",
        "https://example.com:8443/x",
        "HTTPS://EXAMPLE.com",
        "http://localhost:8080/x",
        "http://api.localhost/x",
        "http://127.0.0.1/x",
        "http://127.8.8.8/x",
        "http://[::1]:80/x",
    ],
)
def test_https_and_this_machine_pass(url: str) -> None:
    """HTTPS URLs of any host, and HTTP URLs of this machine, are accepted."""
    webhook_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/x",
        "https://",
        "https:///x",
        "ftp://example.com/x",
        "http://10.0.0.1/SECRET",
        "http://localhost.example.com/SECRET",
        "http://127.0.0.1.example.com/SECRET",
        "https://[::1/SECRET",
        None,
        b"https://example.com",
    ],
)
def test_other_urls_are_refused_unseen(url: Any) -> None:
    """The message about another URL does not repeat it, because its path may hold a token."""
    with pytest.raises(InvalidArgumentError, match="https://") as raised:
        webhook_url(url)
    assert "SECRET" not in f"{raised.value}{raised.value!r}{vars(raised.value)}"


@given(st.text())
def test_local_part_is_lowercase_letters_digits_hyphens(text: str) -> None:
    """A local part has at least one character, only the documented ones, and no line break at its end."""
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if text and set(text) <= allowed:
        local_part(text)
    else:
        with pytest.raises(InvalidArgumentError):
            local_part(text)


@given(st.text(min_size=1))
def test_any_id_is_one_segment(text: str) -> None:
    """Every id is refused, or stays one segment of the path."""
    try:
        segment = path_segment("campaign_id", text)
    except InvalidArgumentError:
        assert not text.strip() or not text.strip(".")
    else:
        assert not set("/?#") & set(segment)
        assert segment.isascii()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "konvox.example",
        "ftp://konvox.example",
        "https://",
        "https://user:SECRET@konvox.example",
        "https://konvox.example/?key=SECRET",
        "https://konvox.example/#SECRET",
        "http://[::1",
        "http://konvox.example:99999999",
    ],
)
def test_api_urls_that_cannot_be_used(url: str) -> None:
    """A wrong API URL fails when the client is made, and the message holds no secret part of it."""
    with pytest.raises(InvalidArgumentError, match="api_url") as raised:
        KonvoxClient(url, KEY)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("key", ["", "  ", "kvx live SECRET", "kvx_SECRET\r\nX-Evil: 1", "kvx_SECRÉT"])
def test_keys_that_cannot_be_sent(key: str) -> None:
    """A key that would break the headers is refused with a message that does not show it."""
    with pytest.raises(InvalidArgumentError, match="api_key") as raised:
        KonvoxClient("https://konvox.example", key)
    assert "SECR" not in str(raised.value)


@pytest.mark.parametrize("options", [{"auth": "basic"}, {"timeout_seconds": 0}, {"timeout_seconds": float("nan")}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    """An unknown auth scheme and a time limit of 0 are refused."""
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        KonvoxClient("https://konvox.example", KEY, **options)


def test_a_key_from_a_file_may_end_with_a_line_break() -> None:
    """White space around the key is removed, and the client's repr does not show the key."""
    client = KonvoxClient(" https://konvox.example/ ", f"{KEY}\n")
    assert repr(client) == "KonvoxClient('https://konvox.example')"
    assert client._transport.access.headers(with_body=False)["Authorization"] == f"Bearer {KEY}"


def test_a_client_can_be_made_without_an_event_loop() -> None:
    """A client opens nothing before `async with`, and can be made without an event loop."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    KonvoxClient("https://konvox.example", KEY)
