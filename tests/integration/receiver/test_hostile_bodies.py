"""Bodies that are too large, compressed, or no JSON as it should be: refused by name, and the receiver goes on."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable

import pytest

from receiver import listener
from tests.support.events import body_of
from tests.support.http import TOKEN, RunningReceiver, chunked, http_request, read_answer
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

HOOK = f"/hooks/konvox/{TOKEN}"
LIMIT_BYTES = 20_000
TOO_LARGE = {"error": f"the body is larger than {LIMIT_BYTES} bytes"}
COMPRESSED = {"error": "the body must not be compressed (no Content-Encoding)"}
CHUNKED = ("Transfer-Encoding", "chunked")

NO_JSON = {
    "a byte that is no UTF-8": b'{"event": "a\xff"}',
    "an overlong form of a slash": b'{"event": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"event": "\xed\xa0\x80"}',
    "a lone surrogate, escaped": b'{"event": "a", "data": "\\ud800"}',
    "a lone surrogate as a key": b'{"event": "a", "data": {"\\udfff": 1}}',
    "UTF-16": '{"event": "a"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"event": "a"}'.encode("utf-16-le"),
    "UTF-32": '{"event": "a"}'.encode("utf-32"),
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"event": "a"}',
    "a byte order mark behind white space": b' \xef\xbb\xbf{"event": "a"}',
    "a byte order mark behind the event": b'{"event": "a"}\xef\xbb\xbf',
    "half a byte order mark": b'\xef\xbb{"event": "a"}',
    "nothing but a byte order mark": b"\xef\xbb\xbf",
    "white space that JSON does not know": b'\x0b{"event": "a"}',
    "white space of Unicode": b'\xc2\xa0{"event": "a"}',
    "arrays, 100,000 deep": b'{"event": "a", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects, 100,000 deep": b'{"event": "a", "data": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "brackets that never close": b"[" * 100_000,
    "an integer of 5,000 digits": b'{"event": "a", "data": ' + b"9" * 5_000 + b"}",
    "a negative integer of 5,000 digits": b'{"event": "a", "data": -' + b"9" * 5_000 + b"}",
    "NaN": b'{"event": "a", "data": NaN}',
    "Infinity": b'{"event": "a", "data": Infinity}',
    "negative Infinity": b'{"event": "a", "data": [-Infinity]}',
    "a trailing comma": b'{"event": "a",}',
    "a comment": b'{"event": "a"} // b',
    "two values": b'{"event": "a"}{"event": "b"}',
    "a line break in a text": b'{"event": "a\nb"}',
    "zero bytes": b"\x00" * 100,
    "a form": b"event=contact.replied",
}


def body_of_size(size_bytes: int) -> bytes:
    """An event whose body has just this size."""
    frame = b'{"event": "a", "data": "%s"}'
    return frame % (b"x" * (size_bytes - len(frame % b"")))


@pytest.fixture
async def receiver(start: Start) -> RunningReceiver:
    """A receiver with a low limit."""
    return await start(tokens=[TOKEN], max_body_bytes=LIMIT_BYTES)


@pytest.fixture
async def large(start: Start) -> RunningReceiver:
    """A receiver with the usual limit."""
    return await start(tokens=[TOKEN])


async def test_a_body_of_exactly_the_limit_is_accepted(receiver: RunningReceiver) -> None:
    """A body of the limit is accepted, whether its length is announced or it comes in chunks."""
    body = body_of_size(LIMIT_BYTES)
    assert len(body) == LIMIT_BYTES
    assert (await receiver.deliver(body)).json["status"] == "accepted"
    answer = await receiver.send(http_request(HOOK, chunked(body), headers=[CHUNKED]))
    assert answer.json["status"] == "duplicate"


@pytest.mark.parametrize("length", [str(LIMIT_BYTES + 1), "9" * 15, "9" * 19])
async def test_a_body_over_the_limit_is_refused_before_it_is_sent(
    receiver: RunningReceiver, server: RedisClient, length: str
) -> None:
    """The `Content-Length` is enough to refuse a body: the answer comes before a byte of it is sent."""
    answer = await receiver.send(http_request(HOOK, headers=[("Content-Length", length)]))
    assert (answer.status, answer.json) == (413, TOO_LARGE)
    assert await server.dbsize() == 0


async def test_a_sender_that_keeps_sending_gets_the_answer(receiver: RunningReceiver) -> None:
    """The rest of a refused body is read and thrown away: a connection cut short would cost the sender its answer."""
    body = b"[" * 4_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request(HOOK, body))
    await writer.drain()
    assert (await read_answer(reader)).status == 413
    writer.close()


async def test_a_refused_sender_does_not_hold_the_connection(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of a refused sender is closed once it has had its time."""
    monkeypatch.setattr(listener, "LINGER_SECONDS", 0.1)
    receiver = await start(tokens=[TOKEN], max_body_bytes=LIMIT_BYTES)
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request(HOOK, headers=[("Content-Length", str(LIMIT_BYTES + 1))]))
    assert (await read_answer(reader)).status == 413
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("over_bytes", [1, 2, 3 * LIMIT_BYTES])
async def test_a_chunked_body_over_the_limit_is_refused(
    receiver: RunningReceiver, server: RedisClient, over_bytes: int
) -> None:
    """A body whose size nobody announced is refused as soon as it is over the limit."""
    body = chunked(body_of_size(LIMIT_BYTES + over_bytes))
    answer = await receiver.send(http_request(HOOK, body, headers=[CHUNKED]))
    assert (answer.status, answer.json) == (413, TOO_LARGE)
    assert await server.dbsize() == 0


async def test_an_endless_chunked_body_is_refused_while_it_is_being_sent(receiver: RunningReceiver) -> None:
    """An endless body in chunks is refused while it is being sent."""
    endless = chunked(b"[" * 3 * LIMIT_BYTES).removesuffix(b"0\r\n\r\n")
    assert (await receiver.send(http_request(HOOK, endless, headers=[CHUNKED]))).status == 413


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "compress", "identity, gzip", "nonsense"]
)
async def test_any_content_encoding_gets_415(receiver: RunningReceiver, server: RedisClient, encoding: str) -> None:
    """Every encoding is refused, known or not, whatever the body is."""
    answer = await receiver.deliver(body_of(1), headers=[("Content-Encoding", encoding)])
    assert (answer.status, answer.json) == (415, COMPRESSED)
    twice = [("Content-Encoding", "identity"), ("Content-Encoding", encoding)]
    assert (await receiver.deliver(body_of(1), headers=twice)).status == 415
    assert await server.dbsize() == 0


async def test_a_bomb_is_refused_before_it_is_inflated(receiver: RunningReceiver) -> None:
    """A compressed body is refused on its headers alone, before a byte of it is sent."""
    bomb = gzip.compress(b"[" * 15_000_000)
    assert len(bomb) < LIMIT_BYTES
    headers = [("Content-Encoding", "gzip"), ("Content-Length", str(len(bomb)))]
    answer = await receiver.send(http_request(HOOK, headers=headers))
    assert (answer.status, answer.json) == (415, COMPRESSED)
    assert (await receiver.deliver(bomb, headers=[("Content-Encoding", "gzip")])).status == 415


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_a_compressed_body_that_does_not_say_so_is_no_json(
    receiver: RunningReceiver, compress: Callable[[bytes], bytes]
) -> None:
    """A compressed body that is not announced is no JSON: nothing is inflated on suspicion."""
    assert (await receiver.deliver(compress(body_of(1)))).status == 400
    headers = [("Transfer-Encoding", "gzip, chunked")]
    assert (await receiver.send(http_request(HOOK, chunked(compress(body_of(1))), headers=headers))).status == 400


async def test_identity_is_no_encoding(receiver: RunningReceiver) -> None:
    """`Content-Encoding: identity` says that the body is as it is."""
    assert (await receiver.deliver(body_of(1), headers=[("Content-Encoding", "Identity")])).status == 200


@pytest.mark.parametrize("why", NO_JSON)
async def test_what_is_no_json_gets_400_and_the_next_event_is_accepted(
    large: RunningReceiver, server: RedisClient, why: str
) -> None:
    """A body that is not JSON gets a 400 and leaves nothing in Redis, and the next event is accepted."""
    answer = await large.deliver(NO_JSON[why])
    assert answer.status == 400
    assert answer.json["error"].startswith("not a Konvox event: ")
    assert await server.dbsize() == 0
    assert (await large.deliver(body_of(1))).json["status"] == "accepted"


@pytest.mark.parametrize(
    "data",
    [
        b"1e400",
        b"[" * 150 + b"]" * 150,
        b"9" * 4_300,
        b"-" + b"9" * 4_300,
        b'"\\u0000\\ud83d\\ude00"',
        b'{"a":1,"a":2}',
    ],
)
async def test_what_is_odd_and_json_is_accepted(large: RunningReceiver, data: bytes) -> None:
    """A body that can be read as an event is accepted, however odd it is."""
    assert (await large.deliver(b'{"event": "a", "data": ' + data + b"}")).json["status"] == "accepted"
