"""Tests of the sandbox's deliveries to a real server: requests, success, retries, limits, and the end."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from konvox.events import typed_event
from konvox.sandbox import SandboxConfig, create_sandbox, run_sandbox
from konvox.sandbox.delivery import Deliverer
from konvox.sandbox.state import SandboxState
from konvox.signatures import verify_hmac_sha256

FULL, READ = "kvx_live_full", "kvx_live_read"
HEADERS = {"X-API-Key": FULL}

Client = TestClient[web.Request, web.Application]
ClientFor = Callable[[web.Application], Awaitable[Client]]
ServerFor = Callable[[web.Application], Awaitable[TestServer]]


@dataclass
class Receiver:
    """A server that answers with the given statuses in turn and then with 200, and records the requests."""

    statuses: list[int] = field(default_factory=list)
    hangs: bool = False
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        """Answer one request."""
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        self.arrived.set()
        if self.hangs:
            await asyncio.Event().wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status in {302, 307} else {})


@pytest.fixture
async def receiver(aiohttp_server: ServerFor) -> Receiver:
    """A receiver that answers 200 unless the test sets other statuses."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.take)
    server = await aiohttp_server(app)
    receiver.url = str(server.make_url("/hooks/konvox/token-0123456789"))
    return receiver


@pytest.fixture
def sandbox(aiohttp_client: ClientFor) -> Callable[..., Awaitable[Client]]:
    """Makes a client of a sandbox with very short waits."""

    async def start(**fields: Any) -> Client:
        """Start a sandbox with this configuration."""
        config = SandboxConfig(full_key=FULL, read_key=READ, **({"retry_base_seconds": 0.01} | fields))
        return await aiohttp_client(create_sandbox(config))

    return start


Sandbox = Callable[..., Awaitable[Client]]


async def subscribe(client: Client, url: str, *events: str, active: bool = True) -> str:
    """Register a webhook; returns its id."""
    fields = {"url": url, "events": events or ["contact.replied"], "active": active}
    response = await client.post("/api/webhooks", json=fields, headers=HEADERS)
    webhook_id: str = (await response.json())["data"]["id"]
    return webhook_id


async def fire(client: Client, **fields: Any) -> dict[str, Any]:
    """Make an event happen; returns the answer's data."""
    response = await client.post("/sandbox/fire", json={"event": "contact.replied"} | fields, headers=HEADERS)
    envelope = await response.json()
    assert (response.status, envelope["error"]) == (202, None)
    data: dict[str, Any] = envelope["data"]
    return data


async def attempts_of(client: Client) -> list[dict[str, Any]]:
    """All attempts that the sandbox lists."""
    envelope = await (await client.get("/sandbox/deliveries", headers=HEADERS)).json()
    attempts: list[dict[str, Any]] = envelope["data"]
    assert envelope["meta"] == {"total": len(attempts)}
    return attempts


async def test_an_event_is_delivered_as_documented(sandbox: Sandbox, receiver: Receiver) -> None:
    """An event is one unsigned POST of JSON, with a sample of the event, and the attempt is listed."""
    client = await sandbox(company_id="cl9")
    webhook_id = await subscribe(client, receiver.url)
    answer = await fire(client, wait=True)
    [attempt] = await attempts_of(client)
    assert answer == {
        "event": "contact.replied",
        "deliveries": 1,
        "outcomes": [{"webhook_id": webhook_id, "outcome": "delivered", "attempts": [attempt]}],
    }
    assert attempt.keys() == {"webhook_id", "event", "attempt", "status", "error", "time", "duration_ms"}
    assert (attempt["webhook_id"], attempt["event"], attempt["attempt"]) == (webhook_id, "contact.replied", 1)
    assert (attempt["status"], attempt["error"]) == (200, None)
    assert attempt["duration_ms"] > 0
    assert re.fullmatch(r".{10}T.{12}Z", attempt["time"])
    [body], [headers] = receiver.bodies, receiver.headers
    assert typed_event("contact.replied", event_id="evt_1", raw=body).company_id == "cl9"
    assert headers["Content-Type"] == "application/json"
    assert "X-Konvox-Signature" not in headers


async def test_the_data_can_be_given(sandbox: Sandbox, receiver: Receiver) -> None:
    """`data` replaces the sample, and an event of any name can be fired."""
    client = await sandbox()
    await subscribe(client, receiver.url, "campaign.completed")
    await fire(client, event="campaign.completed", data={"campaignId": "c1"}, wait=True)
    assert orjson.loads(receiver.bodies[0])["data"] == {"campaignId": "c1"}


async def test_only_active_subscribers_get_an_event(sandbox: Sandbox, receiver: Receiver) -> None:
    """Each active webhook that is subscribed to the event gets it, and no other one."""
    client = await sandbox()
    first = await subscribe(client, receiver.url, "contact.replied", "enrollment.created")
    second = await subscribe(client, receiver.url, "contact.replied")
    await subscribe(client, receiver.url, "enrollment.created")
    await subscribe(client, receiver.url, "contact.replied", active=False)
    answer = await fire(client, wait=True)
    assert [outcome["webhook_id"] for outcome in answer["outcomes"]] == [first, second]
    assert len(receiver.bodies) == 2


async def test_no_subscriber_is_reported(sandbox: Sandbox) -> None:
    """An event without subscribers is answered with 202, no delivery, and the reason."""
    client = await sandbox()
    answer = await fire(client, wait=True)
    assert (answer["deliveries"], answer["outcomes"]) == (0, [])
    assert "no active webhook is subscribed to contact.replied" in answer["note"]


async def test_copies_have_the_same_body(sandbox: Sandbox, receiver: Receiver) -> None:
    """Each copy goes to each subscriber with exactly the same body."""
    client = await sandbox(concurrent_deliveries=2)
    await subscribe(client, receiver.url)
    await subscribe(client, receiver.url)
    assert (await fire(client, copies=3, wait=True))["deliveries"] == 6
    assert len(receiver.bodies) == 6
    assert len(set(receiver.bodies)) == 1


async def test_without_wait_the_answer_comes_at_once(sandbox: Sandbox, receiver: Receiver) -> None:
    """Without `wait` the answer comes while the receiver still has the request."""
    client = await sandbox()
    receiver.hangs = True
    await subscribe(client, receiver.url)
    assert await fire(client) == {"event": "contact.replied", "deliveries": 1}
    await asyncio.wait_for(receiver.arrived.wait(), 5)
    assert await attempts_of(client) == []
    await client.close()


async def test_a_failed_delivery_is_retried(sandbox: Sandbox, receiver: Receiver) -> None:
    """After two failures the third attempt succeeds, with the same body and a doubled wait."""
    base_seconds = 0.02
    client = await sandbox(retry_base_seconds=base_seconds)
    receiver.statuses = [500, 503]
    await subscribe(client, receiver.url)
    started = asyncio.get_running_loop().time()
    [outcome] = (await fire(client, wait=True))["outcomes"]
    assert asyncio.get_running_loop().time() - started >= base_seconds + 2 * base_seconds
    assert outcome["outcome"] == "delivered"
    assert [(tried["attempt"], tried["status"]) for tried in outcome["attempts"]] == [(1, 500), (2, 503), (3, 200)]
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1


def test_the_waits_double() -> None:
    """The waits double, beginning with the base."""
    config = SandboxConfig(full_key=FULL, read_key=READ, retry_base_seconds=0.5)
    assert [config.backoff_seconds(retry) for retry in (1, 2, 3)] == [0.5, 1.0, 2.0]


async def test_after_three_retries_it_is_gone(sandbox: Sandbox, receiver: Receiver) -> None:
    """After four failed attempts there is no further one."""
    client = await sandbox()
    receiver.statuses = [500] * 9
    await subscribe(client, receiver.url)
    [outcome] = (await fire(client, wait=True))["outcomes"]
    assert outcome["outcome"] == "gave up"
    assert [tried["attempt"] for tried in outcome["attempts"]] == [1, 2, 3, 4]
    assert len(receiver.bodies) == 4
    assert await attempts_of(client) == outcome["attempts"]


@pytest.mark.parametrize("status", [201, 204, 302, 307, 404, 503])
async def test_nothing_but_200_counts(sandbox: Sandbox, receiver: Receiver, status: int) -> None:
    """Only 200 is a success; other successes and redirects are failures, and no redirect is followed."""
    client = await sandbox()
    receiver.statuses = [status]
    await subscribe(client, receiver.url)
    [outcome] = (await fire(client, wait=True))["outcomes"]
    assert [tried["status"] for tried in outcome["attempts"]] == [status, 200]
    assert len(receiver.bodies) == 2


async def test_a_slow_receiver_has_failed(sandbox: Sandbox, receiver: Receiver) -> None:
    """An answer that is too late is a failure, and is retried."""
    client = await sandbox(delivery_timeout_seconds=0.1, retries=1)
    receiver.hangs = True
    await subscribe(client, receiver.url)
    [outcome] = (await fire(client, wait=True))["outcomes"]
    assert outcome["outcome"] == "gave up"
    assert [tried["status"] for tried in outcome["attempts"]] == [None, None]
    assert {tried["error"] for tried in outcome["attempts"]} == {"no answer within 0.1 s"}
    assert all(tried["duration_ms"] >= 90 for tried in outcome["attempts"])


def test_the_documented_limits_are_the_defaults() -> None:
    """The defaults are the documented 10 seconds and three retries."""
    config = SandboxConfig(full_key=FULL, read_key=READ)
    assert (config.delivery_timeout_seconds, config.retries) == (10.0, 3)


async def test_waiting_for_a_place_does_not_use_up_the_time(sandbox: Sandbox, aiohttp_server: ServerFor) -> None:
    """In a burst, the time limit of a request starts with the request, and not while it waits."""
    at_once = most_at_once = 0

    async def slowly(request: web.Request) -> web.Response:
        """Answer after a while, and count the concurrent requests."""
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        # The work of a slow receiver: well below the limit, and five times of it well above.
        await asyncio.sleep(0.15)
        at_once -= 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/", slowly)
    url = str((await aiohttp_server(app)).make_url("/"))
    client = await sandbox(delivery_timeout_seconds=0.6, retries=0, concurrent_deliveries=1)
    await subscribe(client, url)
    outcomes = (await fire(client, copies=5, wait=True))["outcomes"]
    assert {outcome["outcome"] for outcome in outcomes} == {"delivered"}
    assert most_at_once == 1


async def test_an_endpoint_that_cannot_be_reached(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the error of an unreachable webhook nor the log holds any part of its URL."""
    client = await sandbox(retries=0)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, and nobody answers
        await subscribe(client, f"http://127.0.0.1:{bound.getsockname()[1]}/hooks/token-0123456789")
        await subscribe(client, "https://a..b.invalid/token-0123456789")
        refused, unreadable = (await fire(client, wait=True))["outcomes"]
    assert [tried["error"] for tried in refused["attempts"]] == ["cannot connect"]
    assert unreadable["attempts"][0]["error"].startswith("the request failed: ")
    captured = capsys.readouterr()
    assert "sandbox.gave_up" in captured.out + captured.err
    assert "token-0123456789" not in captured.out + captured.err + str(await attempts_of(client))


async def test_a_receiver_that_hangs_up(sandbox: Sandbox) -> None:
    """A broken connection is a failed attempt, and the sandbox keeps running."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Close the connection without an answer."""
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await sandbox(retries=0)
    await subscribe(client, f"http://127.0.0.1:{port}/")
    [outcome] = (await fire(client, wait=True))["outcomes"]
    assert outcome["attempts"][0]["error"].startswith("the request failed: ")
    server.close()
    await server.wait_closed()


async def test_deliveries_are_signed_if_asked(sandbox: Sandbox, receiver: Receiver) -> None:
    """With a secret, every request is signed over its body in the set header, in retries too."""
    client = await sandbox(signing_secret="the-signing-secret")
    receiver.statuses = [500]
    await subscribe(client, receiver.url)
    await fire(client, wait=True)
    assert len(receiver.bodies) == 2
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        verify_hmac_sha256(body, [headers["X-Konvox-Signature"]], secrets=["the-signing-secret"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event": ""}, "event must name"),
        ({"event": None}, "event must name"),
        ({"event": 7}, "event must name"),
        ({"data": []}, "data must be an object"),
        ({"data": None}, "data must be an object"),
        ({"copies": 0}, "copies must be"),
        ({"copies": True}, "copies must be"),
        ({"copies": "2"}, "copies must be"),
        ({"copies": 100_001}, "copies must be"),
        ({"wait": 1}, "wait must be"),
        ({"copys": 2}, "unknown field copys"),
    ],
)
async def test_a_wrong_wish_is_refused(
    sandbox: Sandbox, receiver: Receiver, fields: dict[str, Any], message: str
) -> None:
    """A wrong request to fire an event is answered with 400 in the envelope, and nothing is sent."""
    client = await sandbox()
    await subscribe(client, receiver.url)
    response = await client.post("/sandbox/fire", json={"event": "contact.replied"} | fields, headers=HEADERS)
    assert response.status == 400
    envelope = await response.json()
    assert message in envelope["error"]
    assert envelope["data"] is None
    assert receiver.bodies == []


async def test_shutdown_ends_what_is_under_way(receiver: Receiver) -> None:
    """Shutdown cancels requests that hang and retries that wait, and answers their callers."""
    receiver.hangs = True
    app = create_sandbox(SandboxConfig(full_key=FULL, read_key=READ))
    async with TestClient(TestServer(app)) as client:
        await subscribe(client, receiver.url)
        waiting = asyncio.create_task(fire(client, wait=True))
        await asyncio.wait_for(receiver.arrived.wait(), 5)
        await asyncio.wait_for(app.shutdown(), 5)
        [outcome] = (await asyncio.wait_for(waiting, 5))["outcomes"]
    assert (outcome["outcome"], outcome["attempts"]) == ("stopped", [])


async def test_what_never_began_is_ended_too() -> None:
    """A delivery that is cancelled before its first step is `stopped`, and its caller does not wait for ever."""
    state = SandboxState()
    state.add_webhook(url="http://127.0.0.1/", events=["contact.replied"], active=True)
    async with aiohttp.ClientSession() as session:
        deliverer = Deliverer(SandboxConfig(full_key=FULL, read_key=READ), state, session)
        [delivery] = deliverer.fire("contact.replied", b"{}")
        await deliverer.stop()
        await asyncio.wait_for(delivery.ended.wait(), 5)
    assert (delivery.outcome, delivery.attempts) == ("stopped", [])


async def test_run_sandbox_serves_until_it_is_cancelled() -> None:
    """The sandbox says its URL once it answers, on a free port, and is gone after it is cancelled."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    config = SandboxConfig(full_key=FULL, read_key=READ)
    serving = asyncio.create_task(run_sandbox(config, host="127.0.0.1", port=0, on_ready=ready.set_result))
    url = await asyncio.wait_for(ready, 5)
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.get(f"{url}/api/webhooks") as response:
            assert response.status == 200
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{url}/api/webhooks")
