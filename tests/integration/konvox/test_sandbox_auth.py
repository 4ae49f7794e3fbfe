"""Who may call the sandbox: its own paths need a key too, and no page of another site gets through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from konvox.sandbox import SandboxConfig
from konvox.sandbox.app import create_sandbox
from konvox.sandbox.control import DELIVERIES_PATH, FIRE_PATH, OPENAPI_PATH

Client: TypeAlias = TestClient[web.Request, web.Application]

FULL, READ = "kvx_live_full", "kvx_live_read"
EVENT = {"event": "contact.replied"}


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    """A client of a sandbox."""
    return await aiohttp_client(create_sandbox(SandboxConfig(full_key=FULL, read_key=READ)))


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", FIRE_PATH, None, 401),
        ("POST", FIRE_PATH, "guessed", 401),
        ("POST", FIRE_PATH, READ, 403),
        ("POST", FIRE_PATH, FULL, 202),
        ("GET", DELIVERIES_PATH, None, 401),
        ("GET", DELIVERIES_PATH, READ, 200),
        ("GET", OPENAPI_PATH, None, 401),
        ("GET", OPENAPI_PATH, READ, 200),
        ("GET", "/sandbox/unknown", None, 401),
    ],
)
async def test_control_paths_need_a_key(client: Client, method: str, path: str, key: str | None, status: int) -> None:
    """A caller that makes events happen, or reads them, needs a key of sufficient scope."""
    headers = {} if key is None else {"X-API-Key": key}
    response = await client.request(method, path, json=EVENT if method == "POST" else None, headers=headers)
    assert response.status == status


@pytest.mark.parametrize("path", [FIRE_PATH, DELIVERIES_PATH, "/api/webhooks"])
@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Origin", "https://evil.example.com", 403),
        ("Origin", "http://localhost:3000", 403),
        ("Origin", "null", 403),
        ("Origin", "", 403),
        ("Host", "evil.example.com", 421),
        ("Host", "localhost.evil.example.com", 421),
        ("Host", "127.0.0.1.evil.example.com", 421),
        ("Host", "evil.example.com:80@localhost", 421),
        ("Host", "192.0.2.1", 421),
        ("Host", "", 421),
    ],
)
async def test_no_page_of_another_site_gets_through(
    client: Client, path: str, name: str, value: str, status: int
) -> None:
    """A browser tells where a page is from, and by which name it found the sandbox; a key makes no difference."""
    method = "POST" if path == FIRE_PATH else "GET"
    headers = {"X-API-Key": FULL, name: value}
    response = await client.request(method, path, json=EVENT if method == "POST" else None, headers=headers)
    assert response.status == status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "sandbox.localhost", "LOCALHOST."])
async def test_its_own_names_are_its_own(client: Client, host: str) -> None:
    """Each name of this machine's loopback is good, and so is a page of the sandbox's own."""
    headers = {"X-API-Key": READ, "Host": f"{host}:8090", "Origin": f"http://{host}:8090"}
    assert (await client.get(DELIVERIES_PATH, headers=headers)).status == 200
