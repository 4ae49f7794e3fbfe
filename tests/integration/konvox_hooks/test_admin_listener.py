"""Tests of the admin listener: health, readiness, metrics and the page, with Redis and without it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from broker.redis.client import close
from konvox_hooks.errors import UsageError
from konvox_hooks.service.admin import AdminListener, admin_listener
from konvox_hooks.service.listeners import listening
from receiver.verification import AccountPolicy
from tests.support.events import body_of
from tests.support.http import TOKEN, Answer, http_request, receiving, send
from tests.support.store import KEYS, connect
from tests.support.valkey import ValkeyServer


class Admin:
    """A receiver's admin listener, and a switch for its readiness."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ready = True

    async def get(self, path: str) -> Answer:
        """Send a GET request."""
        return await send(self.port, http_request(path, method="GET"))

    async def metrics(self) -> dict[str, float]:
        """The metrics by name; each must have its type."""
        answer = await self.get("/metrics")
        assert answer.status == 200
        assert (answer.header("Content-Type") or "").startswith("text/plain")
        lines = answer.body.decode().splitlines()
        values = {name: float(value) for name, value in (line.split() for line in lines[1::2])}
        kinds = {name: "counter" if name.endswith("_total") else "gauge" for name in values}
        assert lines[::2] == [f"# TYPE {name} {kind}" for name, kind in kinds.items()]
        return values


@pytest.fixture
async def admin(own_valkey: ValkeyServer) -> AsyncIterator[Admin]:
    """An admin listener on a store with two events, one of which was received twice."""
    connection = connect(own_valkey.url())
    async with receiving(AccountPolicy(tokens=[TOKEN]), connection) as receiver:
        for number in (1, 2, 1):
            assert (await receiver.deliver(body_of(number))).status == 200
    started = Admin(0)

    async def ready() -> bool:
        return started.ready

    listener = admin_listener(
        "receiver",
        connection,
        ready=ready,
        readings=lambda: {"receiver_events_accepted_total": receiver.counters.accepted},
        names=["0.0.0.0", "Receiver.internal"],
    )
    async with listening(listener, "127.0.0.1", 0, name="receiver.admin") as started.port:
        yield started
    await close(connection)


async def test_health_and_readiness(admin: Admin) -> None:
    """The role is healthy and ready while Redis answers; a role that is stopping is healthy, but not ready."""
    health = await admin.get("/healthz")
    assert (health.status, health.json) == (200, {"status": "ok", "role": "receiver"})
    ready = await admin.get("/readyz")
    assert (ready.status, ready.json) == (200, {"status": "ready", "role": "receiver"})
    admin.ready = False
    stopping = await admin.get("/readyz")
    assert (stopping.status, stopping.json) == (503, {"status": "not ready", "reason": "stopping or reconnecting"})
    assert (await admin.get("/healthz")).status == 200


async def test_metrics_and_page_show_the_ledger(admin: Admin) -> None:
    """Metrics and page show the accepted and the pending events, and metrics the process's own counts."""
    metrics = await admin.metrics()
    totals = {"accepted_total": 2, "duplicates_total": 1, "delivered_total": 0, "dropped_total": 0}
    expected = {**totals, "pending": 2, "dead": 0, "dead_letters": 0}
    assert {name: metrics[f"konvox_ledger_{name}"] for name in expected} == expected
    assert metrics["konvox_receiver_events_accepted_total"] == 2
    assert metrics["konvox_redis_up"] == 1
    page = await admin.get("/")
    assert (page.header("Content-Type") or "").startswith("text/html")
    assert b"<th>accepted<td>2" in page.body
    assert b"<th>pending<td>2" in page.body


async def test_without_redis_it_says_so(admin: Admin, own_valkey: ValkeyServer) -> None:
    """Without Redis the role is healthy and not ready, its own counts are in the metrics, and the page answers."""
    own_valkey.kill()
    answer = await admin.get("/readyz")
    assert answer.status == 503
    assert answer.json == {"status": "not ready", "reason": "Redis: ConnectionError"}
    assert (await admin.get("/healthz")).status == 200
    assert await admin.metrics() == {"konvox_redis_up": 0, "konvox_receiver_events_accepted_total": 2}
    page = await admin.get("/")
    assert page.status == 200
    assert b"<th>Redis<td>cannot be reached" in page.body
    own_valkey.start()
    assert (await admin.get("/readyz")).status == 200
    assert (await admin.metrics())["konvox_ledger_accepted_total"] == 2


@pytest.mark.parametrize("junk", ["a count", "a type"])
async def test_metrics_survive_any_content(admin: Admin, own_valkey: ValkeyServer, junk: str) -> None:
    """What somebody else has written is not counted, and the other counts are shown."""
    server = connect(own_valkey.url())
    if junk == "a count":
        await server.hset(KEYS.ledger, "accepted", b"\xff")
    else:
        await server.set(KEYS.ledger, b"\xff")
    await close(server)
    metrics = await admin.metrics()
    assert (metrics["konvox_redis_up"], metrics["konvox_ledger_accepted_total"]) == (1, 0)
    assert metrics["konvox_ledger_pending"] == 2
    assert (await admin.get("/")).status == 200


async def test_nothing_of_an_event_is_shown(admin: Admin) -> None:
    """Metrics and page show only counts: no id, no company, no contact."""
    for path in ("/", "/metrics", "/readyz", "/healthz"):
        body = (await admin.get(path)).body
        assert not any(part in body for part in (b"evt_", b"clxyz123", b"clcontact", TOKEN.encode()))


async def test_nothing_else_is_there(admin: Admin) -> None:
    """The admin listener does not have the path of the hook."""
    assert (await send(admin.port, http_request(f"/hooks/konvox/{TOKEN}", body_of(3)))).status == 404


async def test_a_port_that_is_taken_names_the_setting(admin: Admin) -> None:
    """The message about a port that is taken names the setting."""
    second = AdminListener(web.Application())
    with pytest.raises(UsageError, match=f"127.0.0.1:{admin.port}.*KONVOX_PORT"):
        async with listening(second, "127.0.0.1", admin.port, name="receiver"):
            pass


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8081", 200),
        ("127.0.0.1", 200),
        ("[::1]:8081", 200),
        ("receiver.internal:8081", 200),
        ("evil.example.com", 421),
        ("evil.example.com:8081", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("localhost.evil.example.com", 421),
        ("localhost@evil.example.com", 421),
        ("evil.example.com/localhost", 421),
        ("192.0.2.1", 421),
        ("", 421),
    ],
)
async def test_only_its_own_names_are_answered(admin: Admin, path: str, host: str, status: int) -> None:
    """A page in a browser, whose name was made to lead here, reads nothing of the admin listener."""
    request = http_request(path, method="GET").replace(b"Host: localhost", b"Host: " + host.encode())
    answer = await send(admin.port, request)
    assert answer.status == status
    assert b"accepted" not in answer.body or status == 200


async def test_who_names_no_host_is_no_browser(admin: Admin) -> None:
    """Health checks of HTTP/1.0 have no `Host`."""
    assert (await send(admin.port, b"GET /healthz HTTP/1.0\r\n\r\n")).status == 200
