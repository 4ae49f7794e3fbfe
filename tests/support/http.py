"""The receiver on a real socket, and requests to it byte by byte, also invalid ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from broker.admission import AdmissionPolicy, to_redis
from receiver.counters import Counters
from receiver.group_commit import GroupCommit
from receiver.listener import PublicListener
from receiver.paths import hook_path
from receiver.verification import AccountPolicy
from tests.support.store import RedisClient

TOKEN = "a-token-of-the-tests-0123456789"

Headers: TypeAlias = Sequence[tuple[str, str | bytes]]

_ANSWER_SECONDS = 20.0
_JSON: Headers = (("Content-Type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: its status.
        head: the status line and the headers, as they came.
        body: its body.
    """

    status: int
    head: bytes
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; the answer must say that it is JSON."""
        assert self.header("Content-Type") == "application/json", self
        return orjson.loads(self.body)

    @property
    def without_date(self) -> bytes:
        """All bytes of the answer except the date."""
        lines = self.head.split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(b"date:")) + self.body

    def header(self, name: str) -> str | None:
        """The value of a header."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.lower() == name.lower():
                return value.strip()
        return None


def http_request(
    path: str, body: bytes = b"", *, method: str = "POST", headers: Headers = _JSON, close: bool = False
) -> bytes:
    """A request with these headers, and with a `Content-Length` where they say nothing about the body's length.

    The connection is to stay open afterwards, unless told to `close`.
    """
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost"]
    if close:
        lines.append(b"Connection: close")
    names = {name.lower() for name, _ in headers}
    lines += [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()) for name, value in headers
    ]
    if not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def chunked(body: bytes, *, chunk_bytes: int = 1000) -> bytes:
    """A body in the form of `Transfer-Encoding: chunked`."""
    parts = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def send(port: int, request: bytes) -> Answer:
    """Send these bytes, and read the only answer."""
    async with asyncio.timeout(_ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await read_answer(reader)
        finally:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n"))[:-2]
    answer = Answer(int(head.split(b" ", 2)[1]), head, b"")
    body = await reader.readexactly(int(answer.header("Content-Length") or 0))
    return Answer(answer.status, head, body)


@dataclass(frozen=True, slots=True)
class RunningReceiver:
    """A receiver that listens.

    Attributes:
        port: where.
        counters: its counts.
    """

    port: int
    counters: Counters

    async def send(self, request: bytes) -> Answer:
        """Send a request unchanged."""
        return await send(self.port, request)

    async def deliver(self, body: bytes, *, token: str | None = TOKEN, headers: Headers = ()) -> Answer:
        """Deliver an event as Konvox would, with further headers."""
        return await self.send(http_request(hook_path(token), body, headers=[*_JSON, *headers]))


@asynccontextmanager
async def receiving(policy: AccountPolicy, server: RedisClient, **options: Any) -> AsyncIterator[RunningReceiver]:
    """The real application on a free port, with a group commit of its own and further options of the listener."""
    group_commit = GroupCommit(to_redis(server, AdmissionPolicy()))
    listener = PublicListener([policy], group_commit, stop_seconds=1, **options)
    try:
        yield RunningReceiver(await listener.start("127.0.0.1", 0), listener.counters)
    finally:
        await listener.stop()
        await group_commit.drain()
