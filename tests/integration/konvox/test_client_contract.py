"""Tests of every row of Konvox's table, with the client and a real socket."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from konvox.client import KonvoxClient
from konvox.errors import InvalidArgumentError, KonvoxApiError
from konvox.inferred import Paths
from konvox.resources import Campaign, Connection, Contact, Page, SenderIdentity, Webhook
from tests.integration.konvox.scripted_konvox import KEY, Invocation, envelope, failure, scripted

CAMPAIGN = {"id": "clc1", "name": "Spring", "channel": "email", "status": "active", "targetsByState": {"replied": 2}}
CONTACT = {"id": "clp1", "email": "ada@example.com", "firstName": "Ada", "status": "active", "score": 7}
SENDER = {"id": "cls1", "localPart": "ada", "displayName": "Ada", "warmup": {"day": 3}, "dailyLimit": 40}
CONNECTION = {"id": "clk1", "name": "Mine", "platform": "linkedin", "connectionMethod": "oauth_personal"}
WEBHOOK: dict[str, Any] = {
    "id": "clw1",
    "url": "https://example.com/hooks/konvox/t",
    "events": ["contact.replied"],
    "active": True,
}

ROWS: list[Any] = [
    pytest.param(
        lambda k: k.campaigns.list_page(status="active"),
        ("GET", "/api/campaigns", {"status": "active"}, None),
        [CAMPAIGN],
        Page((Campaign.model_validate(CAMPAIGN),), 1),
        id="list campaigns",
    ),
    pytest.param(
        lambda k: k.campaigns.create(name="Spring", channel="email", profile_id="p1", sender_identity_id="s1"),
        (
            "POST",
            "/api/campaigns",
            {},
            {"name": "Spring", "channel": "email", "profileId": "p1", "senderIdentityId": "s1"},
        ),
        CAMPAIGN,
        Campaign.model_validate(CAMPAIGN),
        id="create campaign",
    ),
    pytest.param(
        lambda k: k.campaigns.get("clc1"),
        ("GET", "/api/campaigns/clc1", {}, None),
        CAMPAIGN,
        Campaign.model_validate(CAMPAIGN),
        id="get campaign",
    ),
    pytest.param(
        lambda k: k.campaigns.update("clc1", name="Summer", channel="multi", status="paused"),
        ("PATCH", "/api/campaigns/clc1", {}, {"name": "Summer", "channel": "multi", "status": "paused"}),
        CAMPAIGN,
        Campaign.model_validate(CAMPAIGN),
        id="update campaign",
    ),
    pytest.param(
        lambda k: k.campaigns.delete("clc1"),
        ("DELETE", "/api/campaigns/clc1", {}, None),
        {"success": True},
        None,
        id="delete campaign",
    ),
    pytest.param(
        lambda k: k.contacts.list_page(status="unsubscribed", limit=10, offset=20),
        ("GET", "/api/contacts", {"status": "unsubscribed", "limit": "10", "offset": "20"}, None),
        [CONTACT],
        Page((Contact.model_validate(CONTACT),), 1),
        id="list contacts",
    ),
    pytest.param(
        lambda k: k.contacts.create(
            email="ada@example.com",
            first_name="Ada",
            last_name="L",
            company_name="AE",
            linkedin_url="https://linkedin.com/in/a",
            title="Countess",
        ),
        (
            "POST",
            "/api/contacts",
            {},
            {
                "email": "ada@example.com",
                "firstName": "Ada",
                "lastName": "L",
                "companyName": "AE",
                "linkedinUrl": "https://linkedin.com/in/a",
                "title": "Countess",
            },
        ),
        CONTACT,
        Contact.model_validate(CONTACT),
        id="create contact",
    ),
    pytest.param(
        lambda k: k.sender_identities.list_page(),
        ("GET", "/api/sender-identities", {}, None),
        [SENDER],
        Page((SenderIdentity.model_validate(SENDER),), 1),
        id="list senders",
    ),
    pytest.param(
        lambda k: k.sender_identities.create(local_part="ada-1", display_name="Ada"),
        ("POST", "/api/sender-identities", {}, {"localPart": "ada-1", "displayName": "Ada"}),
        SENDER,
        SenderIdentity.model_validate(SENDER),
        id="create sender",
    ),
    pytest.param(
        lambda k: k.connections.list_page(),
        ("GET", "/api/connections", {}, None),
        [CONNECTION],
        Page((Connection.model_validate(CONNECTION),), 1),
        id="list connections",
    ),
    pytest.param(
        lambda k: k.connections.create(
            name="Mine",
            platform="linkedin",
            connection_method="socialcrabs",
            username="ada",
            disclaimer_accepted=True,
        ),
        (
            "POST",
            "/api/connections",
            {},
            {
                "name": "Mine",
                "platform": "linkedin",
                "connectionMethod": "socialcrabs",
                "username": "ada",
                "disclaimerAccepted": True,
            },
        ),
        CONNECTION,
        Connection.model_validate(CONNECTION),
        id="create connection",
    ),
    pytest.param(
        lambda k: k.webhooks.list_page(),
        ("GET", "/api/webhooks", {}, None),
        [WEBHOOK],
        Page((Webhook.model_validate(WEBHOOK),), 1),
        id="list webhooks",
    ),
    pytest.param(
        lambda k: k.webhooks.register(url="https://example.com/hooks/konvox/t", events=["contact.replied"]),
        (
            "POST",
            "/api/webhooks",
            {},
            {"url": "https://example.com/hooks/konvox/t", "events": ["contact.replied"], "active": True},
        ),
        WEBHOOK,
        Webhook.model_validate(WEBHOOK),
        id="register webhook",
    ),
]


@pytest.mark.parametrize(("invoke", "request_expected", "data", "result"), ROWS)
async def test_row_of_the_contract(
    invoke: Invocation, request_expected: tuple[str, str, dict[str, str], Any], data: Any, result: Any
) -> None:
    """Each call sends what Konvox documents, and returns the answer as a typed record."""
    status = 201 if request_expected[0] == "POST" else 200
    total = len(data) if isinstance(data, list) else None
    async with scripted(envelope(data, status=status, total=total)) as konvox, konvox.client() as client:
        assert await invoke(client) == result
    (asked,) = konvox.asked
    assert (asked.method, asked.path, asked.query, asked.body) == request_expected


@pytest.mark.parametrize(
    ("resource", "data"),
    [
        ("campaigns", CAMPAIGN),
        ("contacts", CONTACT),
        ("sender_identities", SENDER),
        ("connections", CONNECTION),
        ("webhooks", WEBHOOK),
    ],
)
async def test_every_list_iterates(resource: str, data: dict[str, Any]) -> None:
    """Each resource's list is an async iterator over its records."""
    async with scripted(envelope([data], total=1)) as konvox, konvox.client() as client:
        assert [item.id async for item in getattr(client, resource).list()] == [data["id"]]


@pytest.mark.parametrize(
    ("auth", "header", "value"), [("bearer", "Authorization", f"Bearer {KEY}"), ("x-api-key", "X-API-Key", KEY)]
)
async def test_both_ways_to_present_the_key(auth: str, header: str, value: str) -> None:
    """The key is in the chosen header, and the client sends its user agent."""
    async with scripted(envelope([])) as konvox, konvox.client(auth=auth) as client:
        await client.webhooks.list_page()
    headers = konvox.asked[0].headers
    assert headers[header] == value
    assert sum(KEY in sent for sent in headers.values()) == 1
    assert headers["User-Agent"].startswith("konvox-hooks")


async def test_an_id_stays_one_segment_of_the_path() -> None:
    """An id with a slash or a question mark does not change the path of the call."""
    async with scripted(envelope(CAMPAIGN)) as konvox, konvox.client() as client:
        await client.campaigns.get("../a/b?c=d#e%2F é")
    assert konvox.calls == [("GET", "/api/campaigns/..%2Fa%2Fb%3Fc%3Dd%23e%252F%20%C3%A9")]


async def test_the_api_may_stand_below_a_path_and_elsewhere() -> None:
    """A path in the API's URL is kept, and the inferred paths can be replaced."""
    async with scripted(envelope([])) as konvox, aiohttp.ClientSession() as session:
        client = KonvoxClient(f"{konvox.url}/konvox/", KEY, session=session, paths=Paths(webhooks="/v2/hooks"))
        await client.webhooks.list_page()
    assert konvox.calls == [("GET", "/konvox/v2/hooks")]


async def test_a_given_session_is_used_and_left_open() -> None:
    """A client with a given session needs no `async with`, and leaves the session open."""
    async with scripted(envelope([]), envelope([])) as konvox, aiohttp.ClientSession() as session:
        await konvox.client(session=session).webhooks.list_page()
        async with konvox.client(session=session) as client:
            await client.webhooks.list_page()
        assert not session.closed
    assert len(konvox.asked) == 2


async def test_a_session_that_raises_by_itself_makes_no_difference() -> None:
    """A shared session with raise_for_status leads to the same errors of ours."""
    async with (
        scripted(failure(404, "no such campaign")) as konvox,
        aiohttp.ClientSession(raise_for_status=True) as session,
    ):
        with pytest.raises(KonvoxApiError, match="no such campaign"):
            await konvox.client(session=session).campaigns.get("x")


async def test_a_closed_client_says_so() -> None:
    """A call before `async with` or after it says what to do."""
    async with scripted() as konvox:
        client = konvox.client()
        with pytest.raises(InvalidArgumentError, match="async with"):
            await client.webhooks.list_page()
        async with client:
            pass
        with pytest.raises(InvalidArgumentError, match="async with"):
            await client.webhooks.list_page()
    assert konvox.asked == []


async def test_the_signing_secret_is_read_from_either_field() -> None:
    """The secret is read from `secret` and `signingSecret`, or from a field that is set."""
    async with scripted(
        envelope(WEBHOOK | {"secret": "whsec_1"}),
        envelope(WEBHOOK | {"signingSecret": "whsec_2"}),
        envelope(WEBHOOK | {"hushHush": "whsec_3", "secret": "other"}),
        envelope(WEBHOOK),
    ) as konvox:
        secrets = []
        for options in ({}, {}, {"secret_fields": ["hushHush"]}, {}):
            async with konvox.client(**options) as client:
                webhook = await client.webhooks.register(url=WEBHOOK["url"], events=["contact.replied"])
                secrets.append(webhook.signing_secret)
    assert secrets == ["whsec_1", "whsec_2", "whsec_3", None]


async def test_a_webhook_may_lead_to_this_machine() -> None:
    """A webhook may have a plain HTTP URL of this machine, for the sandbox."""
    async with scripted(envelope(WEBHOOK)) as konvox, konvox.client() as client:
        await client.webhooks.register(url="http://127.0.0.1:8080/hooks/konvox/t", events=["a.b"], active=False)
    assert konvox.asked[0].body["active"] is False
