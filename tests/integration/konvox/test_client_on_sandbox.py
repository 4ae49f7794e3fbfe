"""Tests of every row of the contract's tables, with the real client and the real sandbox over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from konvox.client import KonvoxClient
from konvox.errors import BadRequestError, ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from konvox.sandbox import SandboxConfig, create_sandbox

FULL, READ = "kvx_live_full", "kvx_live_read"
HOOK = "https://your-app.example/hooks/konvox/token-0123456789"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The URL of a new sandbox."""
    async with TestServer(create_sandbox(SandboxConfig(full_key=FULL, read_key=READ, slug="acme"))) as server:
        yield str(server.make_url("/"))


@pytest.fixture
async def konvox(url: str) -> AsyncIterator[KonvoxClient]:
    """A client with a full key."""
    async with KonvoxClient(url, FULL) as client:
        yield client


@pytest.fixture
async def reader(url: str) -> AsyncIterator[KonvoxClient]:
    """A client with a read key, in the other header."""
    async with KonvoxClient(url, READ, auth="x-api-key") as client:
        yield client


async def ask(url: str, method: str, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    """Send what the client would refuse; returns status and envelope."""
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": FULL}) as session,
        session.request(method, url + path, json=fields or None) as response,
    ):
        return response.status, await response.json()


async def test_create_campaign(konvox: KonvoxClient, url: str) -> None:
    """A create answers 201 with a draft that has the given fields, its times, and no targets."""
    campaign = await konvox.campaigns.create(
        name="Spring", channel="email", profile_id="prof1", sender_identity_id="send1"
    )
    assert (campaign.name, campaign.channel, campaign.status) == ("Spring", "email", "draft")
    assert (campaign.profile_id, campaign.sender_identity_id) == ("prof1", "send1")
    assert sum(campaign.targets_by_state.values()) == 0
    assert campaign.created_at is not None
    assert (await ask(url, "POST", "api/campaigns", name="A", channel="multi"))[0] == 201


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channel": "linkedin"}, "name is required"),
        ({"name": None, "channel": "linkedin"}, "name is required"),
        ({"name": " ", "channel": "linkedin"}, "name must not be blank"),
        ({"name": 7, "channel": "linkedin"}, "name must be a text"),
        ({"name": "A"}, "channel is required"),
        ({"name": "A", "channel": "fax"}, "channel must be one of email, linkedin, multi"),
        ({"name": "A", "channel": None}, "channel must be one of"),
        ({"name": "A", "channel": ["email"]}, "channel must be one of"),
        ({"name": "A", "channel": "email"}, "senderIdentityId is required for an email campaign"),
        ({"name": "A", "channel": "email", "senderIdentityId": ""}, "senderIdentityId is required"),
        ({"name": "A", "channel": "linkedin", "profileId": 7}, "profileId must be a text"),
    ],
)
async def test_the_rules_for_a_campaign(url: str, fields: dict[str, Any], message: str) -> None:
    """A broken rule for campaigns is answered with 400 and named, and nothing is created."""
    status, envelope = await ask(url, "POST", "api/campaigns", **fields)
    assert (status, envelope["data"]) == (400, None)
    assert message in envelope["error"]
    assert (await ask(url, "GET", "api/campaigns"))[1]["meta"] == {"total": 0}


async def test_list_campaigns(konvox: KonvoxClient, reader: KonvoxClient, url: str) -> None:
    """Campaigns are listed newest first, filtered by status, each with its targets."""
    created = [await konvox.campaigns.create(name=name, channel="linkedin") for name in ("first", "second", "third")]
    await konvox.campaigns.update(created[0].id, status="active")
    await konvox.campaigns.update(created[2].id, status="paused")
    assert [campaign.name async for campaign in reader.campaigns.list()] == ["third", "second", "first"]
    by_status = {
        status: [campaign.name for campaign in (await reader.campaigns.list_page(status=status)).items]
        for status in ("draft", "active", "paused", "completed")
    }
    assert by_status == {"draft": ["second"], "active": ["first"], "paused": ["third"], "completed": []}
    assert (await reader.campaigns.list_page(status="draft")).total == 1
    status, envelope = await ask(url, "GET", "api/campaigns?status=gone")
    assert (status, "status must be one of draft, active" in envelope["error"]) == (400, True)


async def test_get_campaign(konvox: KonvoxClient, reader: KonvoxClient) -> None:
    """A campaign has the counts of its enrollments by state, and an unknown id is answered with 404."""
    await konvox.contacts.create(email="ada@example.com")
    campaign = await konvox.campaigns.create(name="Spring", channel="linkedin")
    await konvox.campaigns.update(campaign.id, status="active")
    found = await reader.campaigns.get(campaign.id)
    assert found.name == "Spring"
    assert found.targets_by_state == {"active": 1, "replied": 0, "unsubscribed": 0}
    with pytest.raises(NotFoundError, match="no such campaign"):
        await reader.campaigns.get("clnothing")


async def test_update_campaign(konvox: KonvoxClient, url: str) -> None:
    """An update changes the given fields only, and the rules apply to the whole campaign."""
    campaign = await konvox.campaigns.create(name="Spring", channel="linkedin", profile_id="prof1")
    renamed = await konvox.campaigns.update(campaign.id, name="Summer")
    assert (renamed.name, renamed.channel, renamed.profile_id) == ("Summer", "linkedin", "prof1")
    for status in ("active", "paused", "completed"):
        assert (await konvox.campaigns.update(campaign.id, status=status)).status == status
    with pytest.raises(BadRequestError, match="senderIdentityId is required"):
        await konvox.campaigns.update(campaign.id, channel="email")
    mailed = await konvox.campaigns.update(campaign.id, channel="email", sender_identity_id="send1")
    assert (mailed.channel, mailed.sender_identity_id) == ("email", "send1")
    path = f"api/campaigns/{campaign.id}"
    assert "senderIdentityId is required" in (await ask(url, "PATCH", path, senderIdentityId=None))[1]["error"]
    assert "status must be one of active" in (await ask(url, "PATCH", path, status="draft"))[1]["error"]
    assert "name is required" in (await ask(url, "PATCH", path, name=None))[1]["error"]
    assert (await ask(url, "PATCH", path, profileId=None))[1]["data"]["profileId"] is None
    with pytest.raises(NotFoundError):
        await konvox.campaigns.update("clnothing", name="A")


async def test_delete_campaign(konvox: KonvoxClient, url: str) -> None:
    """A delete answers `{"success": true}` in the envelope, and removes the campaign and its enrollments."""
    await konvox.contacts.create(email="ada@example.com")
    campaign = await konvox.campaigns.create(name="Spring", channel="linkedin")
    other = await konvox.campaigns.create(name="Summer", channel="linkedin")
    for one in (campaign, other):
        await konvox.campaigns.update(one.id, status="active")
    assert await ask(url, "DELETE", f"api/campaigns/{campaign.id}") == (
        200,
        {"data": {"success": True}, "error": None},
    )
    with pytest.raises(NotFoundError):
        await konvox.campaigns.delete(campaign.id)
    assert [left.id async for left in konvox.campaigns.list()] == [other.id]
    assert (await konvox.campaigns.get(other.id)).targets_by_state["active"] == 1


async def test_create_contact(konvox: KonvoxClient, url: str) -> None:
    """A contact keeps all its fields, and a create with the same email in any case returns it unchanged."""
    contact = await konvox.contacts.create(
        email="ada@example.com",
        first_name="Ada",
        last_name="Lovelace",
        company_name="Engines",
        linkedin_url="https://linkedin.example/in/ada",
        title="Countess",
    )
    assert contact.model_dump(exclude={"id", "created_at", "updated_at"}) == {
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "company_name": "Engines",
        "linkedin_url": "https://linkedin.example/in/ada",
        "title": "Countess",
        "status": "active",
    }
    assert await konvox.contacts.create(email="ADA@example.com", first_name="Other") == contact
    assert (await ask(url, "POST", "api/contacts", email="ada@example.com"))[0] == 200
    assert (await konvox.contacts.list_page()).total == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": "A"}, "email is required"),
        ({"email": ""}, "email must not be blank"),
        ({"email": 7}, "email must be a text"),
        ({"email": "ada"}, "email must be an address"),
        ({"email": "a b@c"}, "email must be an address"),
        ({"email": "a@b", "firstName": 7}, "firstName must be a text"),
        ({"email": "a@b", "linkedinUrl": []}, "linkedinUrl must be a text"),
    ],
)
async def test_the_rules_for_a_contact(url: str, fields: dict[str, Any], message: str) -> None:
    """A broken rule for contacts is answered with 400 and named."""
    status, envelope = await ask(url, "POST", "api/contacts", **fields)
    assert (status, message in envelope["error"]) == (400, True)


async def test_list_contacts(konvox: KonvoxClient, reader: KonvoxClient, url: str) -> None:
    """Contacts are listed 50 at a time by default and at most 200, by offset and status; the client reads all pages."""
    emails = [f"person{number:03}@example.com" for number in range(203)]
    for email in emails:
        await konvox.contacts.create(email=email)
    default = (await ask(url, "GET", "api/contacts"))[1]
    assert (len(default["data"]), default["meta"]) == (50, {"total": 203})
    page = await reader.contacts.list_page(limit=200, offset=2)
    assert ([contact.email for contact in page.items], page.total) == (emails[2:202], 203)
    assert (await reader.contacts.list_page(offset=500)).items == ()
    assert [contact.email async for contact in reader.contacts.list()] == emails
    assert (await reader.contacts.list_page(status="active")).total == 203
    assert (await reader.contacts.list_page(status="bounced")).total == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=201", "limit must be a whole number from 1 to 200"),
        ("limit=0", "limit must be"),
        ("limit=", "limit must be"),
        ("limit=1.5", "limit must be"),
        ("limit=%D9%A3", "limit must be"),
        ("offset=-1", "offset must be a whole number from 0"),
        ("offset=1_0", "offset must be"),
        ("offset=" + "9" * 5000, "offset must be"),
        ("status=draft", "status must be one of active, unsubscribed, bounced"),
    ],
)
async def test_the_rules_for_a_list(url: str, query: str, message: str) -> None:
    """A broken rule for lists is answered with 400 and named."""
    status, envelope = await ask(url, "GET", f"api/contacts?{query}")
    assert (status, message in envelope["error"]) == (400, True)


async def test_create_and_list_senders(konvox: KonvoxClient, reader: KonvoxClient) -> None:
    """A sender's address has both parts, with warmup and daily limit data, and an existing one is answered with 409."""
    sender = await konvox.sender_identities.create(local_part="ada-1", display_name="Ada")
    assert (sender.local_part, sender.display_name) == ("ada-1", "Ada")
    assert sender.address == "ada-1@acme.konvox.io"
    assert sender.daily_limit is not None
    assert sender.warmup is not None
    with pytest.raises(ConflictError, match=r"ada-1@acme\.konvox\.io exists already"):
        await konvox.sender_identities.create(local_part="ada-1")
    assert [listed async for listed in reader.sender_identities.list()] == [sender]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"displayName": "Ada"}, "localPart is required"),
        ({"localPart": "Ada"}, "localPart must be lowercase letters, digits and hyphens"),
        ({"localPart": "a.b"}, "localPart must be lowercase"),
        ({"localPart": "a\n"}, "localPart must be lowercase"),
        ({"localPart": "é"}, "localPart must be lowercase"),
        ({"localPart": "a", "displayName": 7}, "displayName must be a text"),
    ],
)
async def test_the_rules_for_a_sender(url: str, fields: dict[str, Any], message: str) -> None:
    """A broken rule for senders is answered with 400 and named."""
    status, envelope = await ask(url, "POST", "api/sender-identities", **fields)
    assert (status, message in envelope["error"]) == (400, True)


async def test_create_and_list_connections(konvox: KonvoxClient, reader: KonvoxClient, url: str) -> None:
    """A connection keeps its documented fields, and no secret of the request."""
    mine = await konvox.connections.create(
        name="Mine", platform="linkedin", connection_method="socialcrabs", username="ada", disclaimer_accepted=True
    )
    assert (mine.name, mine.platform, mine.connection_method, mine.username) == (
        "Mine",
        "linkedin",
        "socialcrabs",
        "ada",
    )
    fields = {"name": "Two", "platform": "email", "connectionMethod": "oauth_own_app", "password": "hunter2"}
    assert (await ask(url, "POST", "api/connections", **fields))[0] == 201
    assert [listed.name async for listed in reader.connections.list()] == ["Mine", "Two"]
    assert "hunter2" not in str(await ask(url, "GET", "api/connections"))


CONNECTION = {"name": "A", "platform": "linkedin", "connectionMethod": "oauth_page"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (CONNECTION | {"name": ""}, "name must not be blank"),
        (CONNECTION | {"platform": "fax"}, "platform must be one of linkedin, email, twitter, instagram"),
        (CONNECTION | {"connectionMethod": "oauth"}, "connectionMethod must be one of socialcrabs"),
        ({"name": "A"}, "platform is required"),
        (CONNECTION | {"username": 7}, "username must be a text"),
        (CONNECTION | {"disclaimerAccepted": "yes"}, "disclaimerAccepted must be true or false"),
        (CONNECTION | {"connectionMethod": "socialcrabs"}, "disclaimerAccepted must be true for"),
        (
            CONNECTION | {"connectionMethod": "socialcrabs", "disclaimerAccepted": False},
            "disclaimerAccepted must be true for",
        ),
    ],
)
async def test_the_rules_for_a_connection(url: str, fields: dict[str, Any], message: str) -> None:
    """A broken rule for connections is answered with 400 and named."""
    status, envelope = await ask(url, "POST", "api/connections", **fields)
    assert (status, message in envelope["error"]) == (400, True)


async def test_register_and_list_webhooks(konvox: KonvoxClient, reader: KonvoxClient) -> None:
    """A webhook is active by default, and has no secret, because no signature is documented."""
    webhook = await konvox.webhooks.register(url=HOOK, events=["contact.replied", "new.one"])
    assert (webhook.url, webhook.events, webhook.active) == (HOOK, ("contact.replied", "new.one"), True)
    assert webhook.signing_secret is None
    asleep = await konvox.webhooks.register(url=HOOK, events=["contact.replied"], active=False)
    assert [listed async for listed in reader.webhooks.list()] == [webhook, asleep]


async def test_every_write_needs_the_full_key(konvox: KonvoxClient, reader: KonvoxClient) -> None:
    """Every write with a read key is answered with 403."""
    campaign = await konvox.campaigns.create(name="Spring", channel="linkedin")
    writes = (
        reader.campaigns.create(name="A", channel="linkedin"),
        reader.campaigns.update(campaign.id, status="active"),
        reader.campaigns.delete(campaign.id),
        reader.contacts.create(email="ada@example.com"),
        reader.sender_identities.create(local_part="ada"),
        reader.connections.create(name="A", platform="email", connection_method="oauth_page"),
        reader.webhooks.register(url=HOOK, events=["contact.replied"]),
    )
    for write in writes:
        with pytest.raises(ForbiddenError, match="only read"):
            await write
    assert (await reader.campaigns.get(campaign.id)).status == "draft"


@pytest.mark.parametrize("auth", ["bearer", "x-api-key"])
async def test_every_list_needs_a_key(url: str, auth: Any) -> None:
    """Every list with an unknown key is answered with 401, in either header."""
    async with KonvoxClient(url, "kvx_live_other", auth=auth) as stranger:
        pages = (
            stranger.campaigns.list_page,
            stranger.contacts.list_page,
            stranger.sender_identities.list_page,
            stranger.connections.list_page,
            stranger.webhooks.list_page,
        )
        for page in pages:
            with pytest.raises(UnauthorizedError, match="invalid"):
                await page()
