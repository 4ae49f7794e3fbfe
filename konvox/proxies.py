"""HTTP sessions that obey HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in capitals or not.

Used for `ctx.http`, by the API client, and by the commands that send to other machines. This machine itself is reached
without a proxy, unless a request names one. aiohttp's own `trust_env` would also read `~/.netrc` for each request, and
fail where that has a password for the API's host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.request import getproxies_environment

import aiohttp
from yarl import URL

from konvox.urls import is_loopback


class UnsupportedProxyError(aiohttp.ClientError):
    """A proxy of the environment is not one that aiohttp can use, such as one for SOCKS."""


def open_session(**options: Any) -> aiohttp.ClientSession:
    """A session of aiohttp with these options, whose requests go through the environment's proxies."""
    return aiohttp.ClientSession(request_class=_ProxiedRequest, **options)


def proxy_for(url: URL, proxies: Mapping[str, str]) -> URL | None:
    """The proxy of a request; None if it goes there directly. Pure.

    Args:
        url: the request's.
        proxies: the environment's proxies by scheme, `all` for any other, and `no` with the hosts that need none.

    Raises:
        UnsupportedProxyError: the proxy cannot be used.
    """
    text = proxies.get(url.scheme) or proxies.get("all")
    host = url.host or ""
    if not text or is_loopback(host) or _is_exempt(host, url.port, proxies.get("no", "")):
        return None
    try:
        proxy = URL(text if "://" in text else f"http://{text}")
        usable = proxy.scheme in {"http", "https"} and bool(proxy.host)
    except ValueError:
        usable = False
    if not usable:
        raise UnsupportedProxyError("the proxy that the environment names is not one for HTTP: http://HOST:PORT")
    return proxy


def _is_exempt(host: str, port: int | None, no_proxy: str) -> bool:
    return any(_exempts(entry.strip().lower(), host.lower(), port) for entry in no_proxy.split(",") if entry.strip())


def _exempts(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY is for a host: `*`, a network, or a domain with all below it; maybe with a port."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, _, own_port = entry.rpartition(":")
    if name and own_port.isdigit():
        if int(own_port) != port:
            return False
        entry = name
    domain = entry.strip("[]").removeprefix("*").lstrip(".")
    return host == domain or host.endswith(f".{domain}")


class _ProxiedRequest(aiohttp.ClientRequest):
    """Takes the proxy of the environment where the caller named none; also after each redirect."""

    def update_proxy(self, proxy: URL | None, proxy_auth: aiohttp.BasicAuth | None, proxy_headers: Any) -> None:
        """Set the proxy."""
        if proxy is None and (found := proxy_for(self.url, getproxies_environment())):
            if found.user:
                proxy_headers = {"Authorization": aiohttp.encode_basic_auth(found.user, found.password or "")}
            proxy = found.with_user(None)
        super().update_proxy(proxy, proxy_auth, proxy_headers)
