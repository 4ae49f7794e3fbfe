"""The receiver's answers: all of them JSON, and the one that nearly every request gets written in a hurry."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from time import time

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter


def json_answer(status: int, content: object, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of any status."""
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json", headers=headers)


def ok_answer(request: web.BaseRequest, content: object) -> web.StreamResponse:
    """A 200 for a request of today: HTTP/1.1, on a connection that stays open. Others get the same in aiohttp's way."""
    if request.version == HttpVersion11 and request.keep_alive:
        return _WholeAnswer(orjson.dumps(content))
    return json_answer(200, content)


class _WholeAnswer(web.StreamResponse):
    """Head and body in one write.

    What `web.Response` is able to do besides (cookies, chunks, compression) costs each request a sixth of its time; see
    `docs/performance.md`.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._whole_body = body

    @property
    def keep_alive(self) -> bool:
        """The connection stays open."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write all of it; called by aiohttp."""
        body = self._whole_body
        await request.writer.write(b"%b%d\r\n\r\n%b" % (_head(int(time())), len(body), body))
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything has been written; called by aiohttp."""


@lru_cache(maxsize=1)
def _head(now_seconds: int) -> bytes:
    date = formatdate(now_seconds, usegmt=True)
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\nContent-Length: ".encode("ascii")
