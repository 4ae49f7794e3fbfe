"""A server on a real socket that gives scripted answers, and records the requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDictProxy

from konvox.client import CallRetries, KonvoxClient

KEY = "kvx_live_0123456789abcdef"


@dataclass(frozen=True)
class Reply:
    """A scripted answer; a value, because a `web.Response` can be sent only once."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request that was received."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDictProxy[str]
    body: Any


@dataclass
class ScriptedKonvox:
    """Gives its replies in turn, and answers a further request with 599."""

    replies: list[Reply | str]
    asked: list[Asked] = field(default_factory=list)
    waits_seconds: list[float] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record the request and give the next reply; `drop` breaks the connection, `hang` never answers."""
        raw = await request.read()
        body = json.loads(raw) if raw else None
        path = request.raw_path.partition("?")[0]
        self.asked.append(Asked(request.method, path, dict(request.query), request.headers, body))
        reply = self.replies.pop(0) if self.replies else Reply(status=599)
        if isinstance(reply, Reply):
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        if reply == "hang":
            await self.released.wait()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def client(self, **options: Any) -> KonvoxClient:
        """A client of this server whose waits are recorded instead of waited, each as long as backoff allows."""
        return KonvoxClient(self.url, KEY, **{"retry": self.retry()} | options)

    def retry(self, attempts: int = 3) -> CallRetries:
        """Retries without waits and without chance."""
        return CallRetries(attempts=attempts, sleep=self.note_wait, random=lambda: 1.0)

    async def note_wait(self, seconds: float) -> None:
        """Replaces `asyncio.sleep`."""
        self.waits_seconds.append(seconds)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The methods and paths of the requests."""
        return [(asked.method, asked.path) for asked in self.asked]


@asynccontextmanager
async def scripted(*replies: Reply | str) -> AsyncIterator[ScriptedKonvox]:
    """Serve these replies."""
    konvox = ScriptedKonvox(list(replies))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", konvox.handle)
    async with TestServer(app) as server:
        konvox.url = str(server.make_url("/")).rstrip("/")
        try:
            yield konvox
        finally:
            konvox.released.set()


def json_reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A reply with any JSON."""
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {}))


def envelope(data: Any, *, status: int = 200, total: int | None = None) -> Reply:
    """A success in Konvox's documented form."""
    meta = {} if total is None else {"meta": {"total": total}}
    return json_reply({"data": data, "error": None, **meta}, status)


def failure(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Reply:
    """A failure in Konvox's documented form."""
    return json_reply({"data": None, "error": message}, status, headers)


Invocation = Callable[[KonvoxClient], Awaitable[Any]]
