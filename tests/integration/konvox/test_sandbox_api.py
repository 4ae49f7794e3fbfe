"""Tests of the sandbox's API over real sockets: keys and scopes, the envelope, the rules for webhooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from konvox.client import KonvoxClient
from konvox.errors import KonvoxError
from konvox.inferred import Paths
from konvox.sandbox import SandboxConfig, create_sandbox
from konvox.sandbox.webhooks import webhook_faults

FULL, READ = "kvx_live_full", "kvx_live_read"
PATH = "/api/webhooks"
URL = "https://hooks.example.com/hooks/konvox/token-0123456789"

Client = TestClient[web.Request, web.Application]
ClientFor = Callable[[web.Application], Awaitable[Client]]


def bearer(key: str) -> dict[str, str]:
    """The documented header with a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
async def client(aiohttp_client: ClientFor) -> Client:
    """A client of a new sandbox."""
    return await aiohttp_client(create_sandbox(SandboxConfig(full_key=FULL, read_key=READ)))


async def error_of(response: ClientResponse, status: int) -> str:
    """The message of an answer, which must be an error in the envelope."""
    assert response.status == status
    assert response.content_type == "application/json"
    envelope = await response.json()
    assert envelope.keys() == {"data", "error"}
    assert envelope["data"] is None
    assert isinstance(envelope["error"], str)
    return envelope["error"]


@pytest.mark.parametrize("headers", [bearer(FULL), bearer(READ), {"X-API-Key": FULL}, {"X-API-Key": READ}])
async def test_both_keys_read_with_either_header(client: Client, headers: dict[str, str]) -> None:
    """A full key and a read key, in either header, both get an empty list in the envelope with its total."""
    response = await client.get(PATH, headers=headers)
    assert response.status == 200
    assert await response.json() == {"data": [], "error": None, "meta": {"total": 0}}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "missing"),
        ({"Authorization": "Bearer "}, "missing"),
        ({"Authorization": f"Basic {FULL}"}, "missing"),
        (bearer("kvx_live_other"), "invalid"),
        (bearer("kvx_live_ful\u00fc"), "invalid"),
        ({"X-API-Key": ""}, "invalid"),
        ({"X-API-Key": FULL + "x"}, "invalid"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", PATH), ("GET", "/api/nothing")])
async def test_no_key_no_answer(client: Client, headers: dict[str, str], message: str, method: str, path: str) -> None:
    """A missing or invalid key is answered with 401 on every path."""
    assert message in await error_of(await client.request(method, path, headers=headers), 401)


async def test_paths_can_be_put_right_for_client_and_sandbox(aiohttp_client: ClientFor) -> None:
    """Other paths can be set for client and sandbox: the calls go there with the key, and the old paths are unknown."""
    paths = Paths(webhooks="/v2/hooks", contacts="/people")
    client = await aiohttp_client(create_sandbox(SandboxConfig(full_key=FULL, read_key=READ, paths=paths)))
    async with KonvoxClient(str(client.make_url("/")), FULL, paths=paths) as konvox:
        webhook = await konvox.webhooks.register(url=URL, events=["contact.replied"])
        assert [known.id async for known in konvox.webhooks.list()] == [webhook.id]
        assert (await konvox.contacts.create(email="ada@example.com")).email == "ada@example.com"
    await error_of(await client.get("/people"), 401)
    await error_of(await client.get(PATH, headers=bearer(FULL)), 404)


@pytest.mark.parametrize("headers", [bearer(READ), {"X-API-Key": READ}])
async def test_a_read_key_must_not_write(client: Client, headers: dict[str, str]) -> None:
    """A write with a read key is answered with 403, and nothing is registered."""
    response = await client.post(PATH, json={"url": URL, "events": ["contact.replied"]}, headers=headers)
    assert "only read" in await error_of(response, 403)
    assert (await (await client.get(PATH, headers=headers)).json())["data"] == []


async def test_unknown_paths_and_methods_are_in_the_envelope(client: Client) -> None:
    """Unknown paths are answered with 404, and methods with 405 and the allowed ones, in the envelope."""
    assert await error_of(await client.get("/api/nothing", headers=bearer(FULL)), 404) == "not found"
    assert await error_of(await client.get("/", headers=bearer(FULL)), 404) == "not found"
    response = await client.delete(PATH, headers=bearer(FULL))
    assert "not allowed" in await error_of(response, 405)
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(","))


async def test_a_bug_is_in_the_envelope(aiohttp_client: ClientFor) -> None:
    """A bug is answered with 500 and Konvox's advice in the envelope, without details."""

    async def broken(request: web.Request) -> web.Response:
        """Raise an unexpected error."""
        raise RuntimeError("inner workings")

    app = create_sandbox(SandboxConfig(full_key=FULL, read_key=READ))
    app.router.add_get("/broken", broken)
    message = await error_of(await (await aiohttp_client(app)).get("/broken", headers=bearer(FULL)), 500)
    assert "try again in a few seconds" in message
    assert "inner workings" not in message


async def test_a_huge_body_is_in_the_envelope(client: Client) -> None:
    """A body beyond a megabyte is answered with 413 in the envelope."""
    response = await client.post(PATH, data=BytesIO(b" " * 2**20 + b"{}"), headers=bearer(FULL))
    assert "too large" in await error_of(response, 413)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[" * 100_000])
async def test_what_is_not_json_is_refused(client: Client, body: bytes) -> None:
    """A body that is no JSON is answered with 400 and a message."""
    assert "not JSON" in await error_of(await client.post(PATH, data=body, headers=bearer(FULL)), 400)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"'])
async def test_what_is_no_object_is_refused(client: Client, body: bytes) -> None:
    """A body that is no JSON object is answered with 400 and a message."""
    assert "object" in await error_of(await client.post(PATH, data=body, headers=bearer(FULL)), 400)


GOOD: dict[str, Any] = {"url": URL, "events": ["contact.replied"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"events": ["a"]}, "url is required"),
        (GOOD | {"url": ""}, "url is required"),
        (GOOD | {"url": 7}, "url must be a text"),
        (GOOD | {"url": "http://hooks.example.com/"}, "must begin with https://"),
        (GOOD | {"url": "http://127.0.0.1.example.com/"}, "must begin with https://"),
        (GOOD | {"url": "ftp://localhost/"}, "must be a URL that begins with https://"),
        (GOOD | {"url": "https:///path"}, "must be a URL that begins with https://"),
        (GOOD | {"url": "https://a.example:port/"}, "cannot be read"),
        (GOOD | {"url": "https://[::1/"}, "cannot be read"),
        (GOOD | {"url": "https://a.example/ b"}, "white space"),
        ({"url": URL}, "events is required"),
        (GOOD | {"events": []}, "at least one event name"),
        (GOOD | {"events": "contact.replied"}, "must be an array"),
        (GOOD | {"events": ["contact.replied", ""]}, "none of them empty"),
        (GOOD | {"events": [" "]}, "none of them empty"),
        (GOOD | {"events": [7]}, "names only"),
        (GOOD | {"active": "yes"}, "active must be true or false"),
        (GOOD | {"active": None}, "active must be true or false"),
    ],
)
async def test_each_rule_has_its_message(client: Client, fields: dict[str, Any], message: str) -> None:
    """Each broken rule is answered with 400 and its message, and nothing is registered."""
    assert message in await error_of(await client.post(PATH, json=fields, headers=bearer(FULL)), 400)
    assert (await (await client.get(PATH, headers=bearer(READ))).json())["meta"] == {"total": 0}


def test_all_broken_rules_are_named_at_once() -> None:
    """One answer names all broken rules."""
    assert list(webhook_faults({"active": 1})) == [
        "url is required",
        "events is required",
        "active must be true or false",
    ]


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x"])
async def test_a_webhook_is_registered_and_listed(client: Client, url: str) -> None:
    """A webhook is answered with 201 and its record, also with a plain HTTP URL of this machine."""
    response = await client.post(
        PATH, json={"url": url, "events": ["contact.replied", "new.one"]}, headers=bearer(FULL)
    )
    assert response.status == 201
    envelope = await response.json()
    record = envelope.pop("data")
    assert envelope == {"error": None}
    assert list(record) == ["id", "url", "events", "active", "createdAt"]
    assert (record["url"], record["events"], record["active"]) == (url, ["contact.replied", "new.one"], True)
    assert record["createdAt"].endswith("Z")
    listed = await (await client.get(PATH, headers=bearer(READ))).json()
    assert listed == {"data": [record], "error": None, "meta": {"total": 1}}


async def test_a_webhook_may_be_registered_inactive(client: Client) -> None:
    """A webhook can be registered switched off."""
    response = await client.post(PATH, json=GOOD | {"active": False}, headers=bearer(FULL))
    assert (await response.json())["data"]["active"] is False


async def test_the_same_webhook_may_stand_twice(client: Client) -> None:
    """Two webhooks may have the same URL, each with its own id, because no conflict is documented."""
    for _ in range(2):
        assert (await client.post(PATH, json=GOOD, headers=bearer(FULL))).status == 201
    listed = await (await client.get(PATH, headers=bearer(READ))).json()
    assert len({webhook["id"] for webhook in listed["data"]}) == 2


async def test_a_signing_secret_is_shown_once(aiohttp_client: ClientFor) -> None:
    """With signing, the answer to a registration holds the secret, and the list does not."""
    config = SandboxConfig(full_key=FULL, read_key=READ, signing_secret="the-signing-secret")
    client = await aiohttp_client(create_sandbox(config))
    created = await (await client.post(PATH, json=GOOD, headers=bearer(FULL))).json()
    assert created["data"]["secret"] == "the-signing-secret"
    assert "the-signing-secret" not in await (await client.get(PATH, headers=bearer(FULL))).text()


async def test_our_client_and_the_sandbox_understand_each_other(client: Client) -> None:
    """`KonvoxClient` can register and list webhooks, and a read key's refusal is an error with its status."""
    base = str(client.make_url("/"))
    async with KonvoxClient(base, FULL) as konvox:
        created = await konvox.webhooks.register(url=URL, events=["contact.replied"])
        assert [webhook.id async for webhook in konvox.webhooks.list()] == [created.id]
    async with KonvoxClient(base, READ) as konvox:
        with pytest.raises(KonvoxError, match="only read"):
            await konvox.webhooks.register(url=URL, events=["contact.replied"])


async def test_the_log_shows_no_token(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """The log of a registration shows the URL masked."""
    await client.post(PATH, json=GOOD, headers=bearer(FULL))
    captured = capsys.readouterr()
    logged = captured.out + captured.err
    assert "sandbox.registered" in logged
    assert "token-0123456789" not in logged
    assert FULL not in logged


def test_the_configuration_shows_no_key() -> None:
    """The repr of the configuration shows no key."""
    shown = repr(SandboxConfig(full_key="key-one", read_key="key-two", signing_secret="key-three"))
    assert "key-" not in shown


@pytest.mark.parametrize(("full_key", "read_key"), [("", "a"), ("a", ""), ("a", "a")])
def test_keys_that_cannot_be_told_apart_are_refused(full_key: str, read_key: str) -> None:
    """An empty key, and one key for both scopes, are refused."""
    with pytest.raises(ValueError, match="key"):
        SandboxConfig(full_key=full_key, read_key=read_key)
