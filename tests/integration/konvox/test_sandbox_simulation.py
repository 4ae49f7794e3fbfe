"""Tests of where events come from: active campaigns, the reactions of a scenario, and requests to fire one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from konvox.client import KonvoxClient
from konvox.events import typed_event
from konvox.sandbox import SandboxConfig, create_sandbox
from konvox.sandbox.scenarios import UNKNOWN_EVENTS
from konvox.signatures import verify_hmac_sha256, verify_standard_webhooks, verify_timestamped

FULL, READ = "kvx_live_full", "kvx_live_read"
EVENTS = ("contact.replied", "enrollment.created", "enrollment.unsubscribed", *UNKNOWN_EVENTS)


class World:
    """A sandbox, a client of it, and a receiver that keeps the requests."""

    def __init__(self, konvox: KonvoxClient, url: str) -> None:
        self.konvox = konvox
        self.url = url
        self.bodies: list[bytes] = []
        self.headers: list[Any] = []
        self._came = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request."""
        async with self._came:
            self.bodies.append(await request.read())
            self.headers.append(request.headers)
            self._came.notify_all()
        return web.Response()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The received events, in order."""
        return [orjson.loads(body) for body in self.bodies]

    def of_type(self, event_type: str) -> list[dict[str, Any]]:
        """The data of the received events of a type."""
        return [event["data"] for event in self.events if event["event"] == event_type]

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait until the received events are enough."""
        async with asyncio.timeout(20), self._came:
            await self._came.wait_for(enough)

    async def campaign_with(self, contacts: int, channel: Any = "linkedin") -> str:
        """Make an active campaign with this number of contacts; returns its id."""
        for number in range(contacts):
            await self.konvox.contacts.create(email=f"person{number}@example.com")
        campaign = await self.konvox.campaigns.create(name="Spring", channel=channel)
        await self.konvox.campaigns.update(campaign.id, status="active")
        return campaign.id

    async def fire(self, **order: Any) -> dict[str, Any]:
        """Fire an event; returns the answer's data."""
        session = self.konvox._transport._session
        assert session is not None
        async with session.post(f"{self.url}sandbox/fire", json=order, headers={"X-API-Key": FULL}) as response:
            assert response.status == 202
            data: dict[str, Any] = (await response.json())["data"]
            return data


WorldFor = Callable[..., Any]


@pytest.fixture
def world() -> WorldFor:
    """Makes a world with a configuration."""

    @asynccontextmanager
    async def make(**fields: Any) -> AsyncIterator[World]:
        config = SandboxConfig(full_key=FULL, read_key=READ, retry_base_seconds=0.01, **fields)
        receiver = web.Application()
        async with TestServer(create_sandbox(config)) as sandbox:
            url = str(sandbox.make_url("/"))
            async with KonvoxClient(url, FULL) as konvox:
                world = World(konvox, url)
                receiver.router.add_post("/", world.take)
                async with TestServer(receiver) as server:
                    await konvox.webhooks.register(url=str(server.make_url("/")), events=EVENTS)
                    yield world

    return make


async def test_an_activation_enrolls_the_active_contacts(world: WorldFor) -> None:
    """An active campaign enrolls each active contact once, with an event; without a scenario nothing else happens."""
    async with world() as it:
        campaign_id = await it.campaign_with(3)
        await it.until(lambda: len(it.bodies) >= 3)
        contacts = {contact.id async for contact in it.konvox.contacts.list()}
        created = it.of_type("enrollment.created")
        assert {data["contactId"] for data in created} == contacts
        assert {data["campaignId"] for data in created} == {campaign_id}
        assert len({data["enrollmentId"] for data in created}) == 3
        assert (await it.konvox.campaigns.get(campaign_id)).targets_by_state["active"] == 3
        for event, raw in zip(it.events, it.bodies, strict=True):
            assert typed_event(event["event"], event_id="evt_1", raw=raw).company_id == "clxyz123"


async def test_an_activation_again_enrolls_who_is_new(world: WorldFor) -> None:
    """A campaign that becomes active again enrolls only new contacts, and nobody who opted out."""
    async with world() as it:
        campaign_id = await it.campaign_with(2)
        await it.until(lambda: len(it.bodies) == 2)
        gone = it.of_type("enrollment.created")[0]
        await it.fire(event="enrollment.unsubscribed", data=gone | {"reason": "manual"}, wait=True)
        await it.konvox.campaigns.update(campaign_id, status="active")
        await it.konvox.campaigns.update(campaign_id, status="paused")
        late = await it.konvox.contacts.create(email="late@example.com")
        await it.konvox.campaigns.update(campaign_id, status="active")
        await it.until(lambda: len(it.bodies) == 4)
        assert it.of_type("enrollment.created")[-1]["contactId"] == late.id
        other = await it.konvox.campaigns.create(name="Summer", channel="linkedin")
        assert (await it.konvox.campaigns.update(other.id, status="active")).targets_by_state["active"] == 2


async def test_a_fired_event_keeps_the_records_in_step(world: WorldFor) -> None:
    """A fired reply or opt-out of an enrollment changes the counts and the contact."""
    async with world() as it:
        campaign_id = await it.campaign_with(3)
        await it.until(lambda: len(it.bodies) == 3)
        replier, leaver, _ = it.of_type("enrollment.created")
        await it.fire(event="contact.replied", data=replier | {"channel": "linkedin"})
        await it.fire(event="enrollment.unsubscribed", data=leaver | {"reason": "manual"})
        await it.fire(event="enrollment.unsubscribed", data={"enrollmentId": ["odd"]})
        counts = (await it.konvox.campaigns.get(campaign_id)).targets_by_state
        assert counts == {"active": 1, "replied": 1, "unsubscribed": 1}
        gone = (await it.konvox.contacts.list_page(status="unsubscribed")).items
        assert [contact.id for contact in gone] == [leaver["contactId"]]


def replies(it: World) -> list[dict[str, Any]]:
    """The received replies and opt-outs."""
    return it.of_type("contact.replied") + it.of_type("enrollment.unsubscribed")


@pytest.mark.parametrize("scenario", ["steady", "burst"])
async def test_a_scenario_lets_contacts_reply_and_opt_out(world: WorldFor, scenario: str) -> None:
    """In a scenario each contact reacts at most once, and counts and statuses agree with the events."""
    async with world(scenario=scenario, rate=500, seed=7) as it:
        campaign_id = await it.campaign_with(60, channel="multi")
        await it.until(lambda: len(replies(it)) >= 40)
        await it.konvox.campaigns.update(campaign_id, status="paused")
        counts = (await it.konvox.campaigns.get(campaign_id)).targets_by_state
        attributed = [data for data in it.of_type("contact.replied") if data["enrollmentId"]]
        await it.until(
            lambda: (
                len({data["enrollmentId"] for data in replies(it)} - {None})
                == counts["replied"] + counts["unsubscribed"]
            )
        )
        attributed = [data["enrollmentId"] for data in it.of_type("contact.replied") if data["enrollmentId"]]
        opted_out = it.of_type("enrollment.unsubscribed")
        assert (counts["replied"], counts["unsubscribed"]) == (len(attributed), len(opted_out))
        assert sum(counts.values()) == 60
        assert min(len(attributed), len(opted_out)) > 0
        assert len(set(attributed)) == len(attributed)
        gone = (await it.konvox.contacts.list_page(status="unsubscribed", limit=200)).items
        assert {contact.id for contact in gone} == {data["contactId"] for data in opted_out}
        for event, raw in zip(it.events, it.bodies, strict=True):
            typed_event(event["event"], event_id="evt_1", raw=raw)
        for data in it.of_type("contact.replied"):
            assert ("subject" in data) == (data["channel"] == "email")


async def test_a_seed_repeats_a_scenario(world: WorldFor) -> None:
    """The same seed makes the same contacts react in the same way and order."""

    async def reactions() -> list[tuple[str, ...]]:
        async with world(scenario="steady", rate=200, seed=3) as it:
            await it.campaign_with(30)
            await it.until(lambda: len(replies(it)) >= 15)
            emails = {contact.id: contact.email async for contact in it.konvox.contacts.list()}
            happened = [event for event in it.events if event["event"] != "enrollment.created"]
            happened.sort(key=lambda event: event["timestamp"])
            return [(emails[event["data"]["contactId"]], event["event"]) for event in happened[:10]]

    # As sets: two events of one millisecond have no order on the wire.
    assert set(await reactions()) == set(await reactions())


async def test_a_pause_stops_a_campaign(world: WorldFor) -> None:
    """Nobody reacts in a paused campaign, and an opt-out in another campaign counts there too."""
    async with world(scenario="steady", rate=500, seed=1) as it:
        for number in range(30):
            await it.konvox.contacts.create(email=f"person{number}@example.com")
        one, two = [await it.konvox.campaigns.create(name=name, channel="linkedin") for name in ("A", "B")]
        await it.konvox.campaigns.update(one.id, status="active")
        await it.until(lambda: len(replies(it)) >= 3)
        before = (await it.konvox.campaigns.update(one.id, status="paused")).targets_by_state["replied"]
        await it.konvox.campaigns.update(two.id, status="active")
        await it.until(lambda: any(data["campaignId"] == two.id for data in replies(it)))
        assert (await it.konvox.campaigns.get(one.id)).targets_by_state["replied"] <= before


async def test_chaos_doubles_and_mixes_and_invents(world: WorldFor) -> None:
    """The chaos scenario has exact copies, reordered events and unknown types, and the records still agree."""
    async with world(scenario="chaos", rate=2000, seed=5) as it:
        campaign_id = await it.campaign_with(150)
        unlike = Counter[bytes]()

        def enough() -> bool:
            unlike.clear()
            unlike.update(it.bodies)
            times = [event["timestamp"] for event in it.events]
            return (
                max(unlike.values(), default=0) > 1
                and any(event["event"] in UNKNOWN_EVENTS for event in it.events)
                and any(later < earlier for earlier, later in pairwise(times))
                and len({data["enrollmentId"] for data in it.of_type("enrollment.created")}) == 150
            )

        await it.until(enough)
        assert sum((await it.konvox.campaigns.get(campaign_id)).targets_by_state.values()) == 150


async def test_a_count_makes_different_events(world: WorldFor) -> None:
    """`count` makes different events, each with `copies` equal ones, in order or shuffled."""
    async with world(concurrent_deliveries=1, seed=1) as it:
        answer = await it.fire(event="contact.replied", count=20, copies=2, wait=True)
        assert answer["deliveries"] == 40
        assert sorted(Counter(it.bodies).values()) == [2] * 20
        times = [event["timestamp"] for event in it.events]
        assert times == sorted(times)
        it.bodies.clear()
        await it.fire(event="contact.replied", count=20, shuffle=True, wait=True)
        times = [event["timestamp"] for event in it.events]
        assert times != sorted(times)


async def test_a_copy_may_come_late(world: WorldFor) -> None:
    """A copy comes after the set delay, like a retry after a lost answer."""
    async with world() as it:
        clock = asyncio.get_running_loop().time
        started = clock()
        [first, second] = (
            await it.fire(event="contact.replied", copies=2, delay_seconds=0.05, copy_delay_seconds=0.1, wait=True)
        )["outcomes"]
        assert clock() - started >= 0.15
        assert first["attempts"][0]["time"] < second["attempts"][0]["time"]


Verify = Callable[[bytes, Any, int], None]


@pytest.mark.parametrize(
    ("scheme", "secret", "verify"),
    [
        ("hmac-sha256", "s3", lambda body, got, _: verify_hmac_sha256(body, [got["X-Sign"]], secrets=["s3"])),
        (
            "timestamped",
            "s3",
            lambda body, got, now: verify_timestamped(body, [got["X-Sign"]], secrets=["s3"], now_seconds=now),
        ),
        (
            "standard-webhooks",
            "whsec_c2VjcmV0LXNlY3JldA==",
            lambda body, got, now: verify_standard_webhooks(
                body,
                [got["webhook-signature"]],
                message_ids=[got["webhook-id"]],
                timestamps=[got["webhook-timestamp"]],
                secrets=["whsec_c2VjcmV0LXNlY3JldA=="],
                now_seconds=now,
            ),
        ),
    ],
)
async def test_any_scheme_signs(world: WorldFor, scheme: str, secret: str, verify: Verify) -> None:
    """Requests verify with every scheme, and copies of one event have one message id."""
    async with world(signing_scheme=scheme, signing_secret=secret, signature_header="X-Sign") as it:
        await it.fire(event="contact.replied", copies=2, wait=True)
        for body, headers in zip(it.bodies, it.headers, strict=True):
            verify(body, headers, int(time.time()))
        assert len({headers.get("webhook-id") for headers in it.headers}) == 1


@pytest.mark.parametrize("name", ["secret", "signingSecret", None])
async def test_the_secret_is_in_the_field_that_is_set(world: WorldFor, name: str | None) -> None:
    """The secret is in the set field or in none, and our client finds it."""
    async with world(signing_secret="s3", secret_field=name) as it:
        webhook = await it.konvox.webhooks.register(url="https://a.example/", events=["contact.replied"])
        assert webhook.signing_secret == (name and "s3")
        assert all(listed.signing_secret is None for listed in (await it.konvox.webhooks.list_page()).items)
