"""Tests that for any answer of a server the client returns a result or raises its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from konvox.client import CallRetries, KonvoxClient
from konvox.errors import KonvoxApiError

KEY = "kvx_live_0123456789abcdef"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.just(KEY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "email", "status", "total", "success", KEY]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
ENVELOPE = st.fixed_dictionaries({}, optional={"data": JSON, "error": st.none() | JSON, "meta": JSON})
BODY = st.one_of(
    st.binary(max_size=200),
    ENVELOPE.map(orjson.dumps),
    st.sampled_from([b"[" * 100_000, b'{"data": NaN}', b'{"error": ' + b"9" * 5_000 + b"}", b'{"data": "\\ud800"}']),
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Retry-After: Wed, 99 Foo",
            b"Retry-After: " + b"9" * 5_000,
            b"Retry-After: Thu, 01 Jan 1970 00:00:00 -0000",
            b"Content-Encoding: gzip",
            b"Content-Type: \xff; charset=nonsense",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 3",
            b"Set-Cookie: \xfe=\xff",
            b"Location: http://[",
        ]
    ),
    max_size=2,
    unique=True,
)


@st.composite
def http_answers(draw: st.DrawFn) -> bytes:
    """Generates answers that look like HTTP, with any status, odd headers and any body."""
    status = draw(st.integers(100, 999) | st.sampled_from([200, 201, 400, 429, 500]))
    head = [b"HTTP/1.1 %d Whatever" % status, b"Connection: close", *draw(HEADERS)]
    return b"\r\n".join(head) + b"\r\n\r\n" + draw(BODY)


class RawServer:
    """Answers every request with the given bytes, and closes the connection."""

    answer = b""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the head of the request, and write the answer."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client had seen enough
        finally:
            writer.close()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for all examples of a test."""
    with asyncio.Runner() as runner:
        yield runner


CALLS: list[Any] = [
    lambda client: client.campaigns.get("x"),
    lambda client: client.campaigns.delete("x"),
    lambda client: client.contacts.list_page(),
    lambda client: client.contacts.create(email="a@b"),
    lambda client: client.webhooks.list_page(),
]


async def failure_of(call: Coroutine[Any, Any, None]) -> KonvoxApiError | None:
    """The client's own error with which a call ends, if it does; other errors pass."""
    try:
        await call
    except KonvoxApiError as error:
        return error
    return None


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=http_answers() | st.binary(max_size=300), invoke=st.sampled_from(CALLS))
def test_only_our_error_comes_out(runner: asyncio.Runner, answer: bytes, invoke: Any) -> None:
    """Any bytes lead to a result, or to a KonvoxApiError without a chain and without the key."""
    raw = RawServer()
    raw.answer = answer

    async def ask() -> None:
        """Make one call to a server with this answer."""
        server = await asyncio.start_server(raw.handle, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with KonvoxClient(url, KEY, timeout_seconds=20, retry=CallRetries(attempts=1)) as client:
                await invoke(client)

    error = runner.run(failure_of(ask()))
    assert error is None or (error.__cause__, error.__context__) == (None, None)
    assert KEY not in f"{error} {error!r} {error and vars(error)}"
