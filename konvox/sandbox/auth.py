"""Check who calls the sandbox: the API key of a request, which is in one of two headers, and its scope.

A page in a browser on this machine may not call it, even with a key. Its `Origin` gives it away, or the host name that
was made to lead here (DNS rebinding).
"""

from __future__ import annotations

import hmac

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import RefusedError
from konvox.urls import is_own_host

OWN_PATHS = "/sandbox/"
"""The start of the sandbox's own paths, which Konvox does not have. They need a key too."""

_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


def auth_middleware(config: SandboxConfig) -> Middleware:
    """Require a key for every path, and refuse pages of other sites."""

    @web.middleware
    async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass a request on only if its key has sufficient scope and no other site's page sent it."""
        _check_site(request)
        _check_scope(presented_key(request), config, request.method)
        return await handler(request)

    return check_key


def presented_key(request: web.Request) -> str | None:
    """The key from `Authorization: Bearer`, or else from `X-API-Key`."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("X-API-Key")


def _check_site(request: web.Request) -> None:
    host, origin = request.headers.get(hdrs.HOST), request.headers.get(hdrs.ORIGIN)
    socket_name = request.get_extra_info("sockname")
    if not is_own_host(host, [socket_name[0]] if socket_name else []):
        raise RefusedError(421, "this is not the sandbox's host: call it by its address, or as localhost")
    if origin is not None and origin != f"{request.scheme}://{host}":
        raise RefusedError(403, "no page of another site may call the sandbox")


def _check_scope(key: str | None, config: SandboxConfig, method: str) -> None:
    if key is None:
        raise RefusedError(401, "API key missing: send Authorization: Bearer or X-API-Key")
    if _same(key, config.full_key):
        return
    if not _same(key, config.read_key):
        raise RefusedError(401, "API key invalid")
    if method not in _READING:
        raise RefusedError(403, "this API key may only read: use a key with full scope")


def _same(presented: str, expected: str) -> bool:
    # As bytes, because compare_digest accepts ASCII text only.
    return hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), expected.encode())
