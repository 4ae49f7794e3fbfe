"""Tests of which requests go through the environment's proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth, web
from yarl import URL

from konvox.client import KonvoxClient
from konvox.proxies import UnsupportedProxyError, open_session, proxy_for

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("http://crm.example/x", "", True),
        ("http://127.0.0.1:8080/x", "", False),
        ("http://[::1]/x", "", False),
        ("http://localhost/x", "", False),
        ("http://crm.example/x", "*", False),
        ("http://crm.example/x", "example", False),
        ("http://crm.example/x", ".example", False),
        ("http://crm.example/x", "*.example", False),
        ("http://crm.example/x", "xample", True),
        ("http://crm.example/x", "other, CRM.example ,", False),
        ("http://crm.example:81/x", "crm.example:80", True),
        ("http://crm.example/x", "crm.example:80", False),
        ("http://10.1.2.3/x", "10.0.0.0/8", False),
        ("http://11.1.2.3/x", "10.0.0.0/8", True),
        ("http://[fd00::7]/x", "fd00::/8", False),
        ("http://10.1.2.3/x", "10.1.2.3", False),
        ("http://crm.example/x", ",", True),
    ],
)
def test_no_proxy_exempts_hosts(url: str, no_proxy: str, *, proxied: bool) -> None:
    """This machine and the hosts, domains and networks of NO_PROXY need no proxy; all others do."""
    found = proxy_for(URL(url), {"http": PROXY, "no": no_proxy})
    assert found == (URL(PROXY) if proxied else None)


@pytest.mark.parametrize(
    ("proxies", "proxy"),
    [
        ({"https": PROXY}, PROXY),
        ({"http": PROXY}, None),
        ({"all": PROXY}, PROXY),
        ({"https": "proxy.example:3128"}, PROXY),
        ({}, None),
    ],
)
def test_each_scheme_has_its_proxy(proxies: dict[str, str], proxy: str | None) -> None:
    """A request takes the proxy of its scheme, or that of all; a proxy without a scheme is one of HTTP."""
    assert proxy_for(URL("https://crm.example/x"), proxies) == (URL(proxy) if proxy else None)


@pytest.mark.parametrize("proxy", ["socks5://proxy.example:1080", "http://", "http://[x"])
def test_a_proxy_that_cannot_be_used_is_an_error(proxy: str) -> None:
    """A proxy that cannot be obeyed is not silently left out."""
    with pytest.raises(UnsupportedProxyError, match="not one for HTTP"):
        proxy_for(URL("http://crm.example/"), {"http": proxy})


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[tuple[str, str | None]]]:
    """A proxy that the environment names; yields what it is asked for, with the credentials."""
    asked: list[tuple[str, str | None]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        """Note the request, and answer in the place of its target."""
        asked.append((str(request.url), request.headers.get("Proxy-Authorization")))
        return web.json_response({"data": {"id": "c1", "email": "a@example.com"}})

    server = web.Server(answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pass@127.0.0.1:{port}")
    yield asked
    await runner.cleanup()


async def test_a_session_asks_the_proxy(proxy: list[tuple[str, str | None]]) -> None:
    """A request to another machine goes through HTTP_PROXY, with its credentials; one to this machine does not."""
    async with open_session() as session:
        async with session.get("http://crm.invalid/x?y=1") as response:
            assert response.status == 200
        with pytest.raises(OSError, match=r"127\.0\.0\.1:1 "):
            await session.get("http://127.0.0.1:1/x")
    assert proxy == [("http://crm.invalid/x?y=1", encode_basic_auth("me", "pass"))]


async def test_the_client_asks_the_proxy(
    proxy: list[tuple[str, str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API client obeys the proxy too, and a password in ~/.netrc does not disturb it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password x\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with KonvoxClient("http://konvox.invalid", "kvx_live_x") as konvox:
        await konvox.contacts.create(email="a@example.com")
    assert [url for url, _ in proxy] == ["http://konvox.invalid/api/contacts"]
