"""The receiver's answers, all of them JSON: for aiohttp, and as bytes for whoever writes to the connection himself."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Literal

import orjson
from aiohttp import web

RETRY_AFTER_SECONDS = 5
"""What a 503 asks of the sender. Konvox keeps to its own backoff; others may listen."""

NOT_STORED = {"error": "not stored, try again"}
"""What a 503 says."""

TOO_MANY = {"error": "too many connections, try again"}
"""What a 503 says to who cannot even be listened to."""

FAULT = {"error": "a fault of the receiver's own"}
"""What a 500 says."""

RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}
"""The header of a 503."""


def json_answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of any status, for aiohttp."""
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json", headers=headers)


def raw_answer(status: int, content: object, *, close: bool = False, headers: Mapping[str, str] | None = None) -> bytes:
    """Head and body of an answer, as they go over the wire (HTTP/1.1)."""
    body = orjson.dumps(content)
    head = _head(status, "close" if close else "keep-alive", int(time()))
    for name, value in (headers or {}).items():
        head += f"{name}: {value}\r\n".encode("ascii")
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


@lru_cache(maxsize=16)
def _head(status: int, connection: Literal["close", "keep-alive"], now_seconds: int) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Date: {formatdate(now_seconds, usegmt=True)}",
    ]
    if connection == "close":
        lines.append("Connection: close")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
