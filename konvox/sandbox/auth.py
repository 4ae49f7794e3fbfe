"""Who may call the API: a key in either of two headers, with the scope to read or to do anything."""

from __future__ import annotations

import hmac

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import RefusedError

OWN_PATHS = "/sandbox/"
"""What begins so is the sandbox's own, and no part of Konvox."""

_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


def auth_middleware(config: SandboxConfig) -> Middleware:
    """Guard everything but the sandbox's own paths, which need no key."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request to the API through only with a key of sufficient scope."""
        if not request.path.startswith(OWN_PATHS):
            _check_scope(presented_key(request), config, request.method)
        return await handler(request)

    return guard


def presented_key(request: web.Request) -> str | None:
    """The key from `Authorization: Bearer` or, where there is none, from `X-API-Key`."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("X-API-Key")


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
    # As bytes: compare_digest does not take other text than ASCII.
    return hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), expected.encode())
