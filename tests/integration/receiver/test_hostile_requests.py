"""Requests that are no good HTTP, and signatures that are none: refused with 400 and 401, never 500."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest

from konvox.signatures import sign_hmac_sha256
from receiver import app
from receiver.heads import MAX_HEAD_BYTES
from tests.support.events import body_of
from tests.support.http import TOKEN, RunningReceiver, chunked, http_request, read_answer
from tests.support.store import KEYS, RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

HOOK = f"/hooks/konvox/{TOKEN}"
SECRET, HEADER = "the-signing-secret", "X-Konvox-Signature"
BODY = body_of(1)
SIZE = str(len(BODY))
GOOD = sign_hmac_sha256(BODY, secret=SECRET)
DIGEST = bytes.fromhex(GOOD.removeprefix("sha256="))
CHUNKED = ("Transfer-Encoding", "chunked")

BAD_HTTP = {
    "a length and chunks": http_request(HOOK, chunked(BODY), headers=[("Content-Length", SIZE), CHUNKED]),
    "chunks and a length": http_request(HOOK, chunked(BODY), headers=[CHUNKED, ("Content-Length", SIZE)]),
    "two lengths": http_request(HOOK, BODY, headers=[("Content-Length", SIZE), ("Content-Length", "3")]),
    "two lengths in one": http_request(HOOK, BODY, headers=[("Content-Length", f"{SIZE}, {SIZE}")]),
    "a length with a plus": http_request(HOOK, BODY, headers=[("Content-Length", "+3")]),
    "a negative length": http_request(HOOK, BODY, headers=[("Content-Length", "-1")]),
    "a length in hex": http_request(HOOK, BODY, headers=[("Content-Length", "0x10")]),
    "a length of thousands of digits": http_request(HOOK, BODY, headers=[("Content-Length", "9" * 5_000)]),
    "a length in Arabic digits": http_request(HOOK, BODY, headers=[("Content-Length", "٣")]),
    "bare line feeds": http_request(HOOK, BODY).replace(b"\r\n", b"\n"),
    "one bare line feed": http_request(HOOK, BODY).replace(b"\r\nContent-Type", b"\nContent-Type"),
    "a bare carriage return": http_request(HOOK, BODY, headers=[("X-A", "b\rc")]),
    "a zero byte in a header": http_request(HOOK, BODY, headers=[(HEADER, GOOD + "\0")]),
    "a space before the colon": http_request(HOOK, BODY, headers=[(HEADER + " ", GOOD)]),
    "a header without a colon": http_request(HOOK, BODY).replace(b"Content-Type:", b"Content-Type"),
    "a path with a space": http_request(HOOK + " a", BODY),
    "a method that does not exist": http_request(HOOK, BODY, method="FETCH"),
    "no host": http_request(HOOK, BODY).replace(b"Host: localhost\r\n", b""),
    "another version": http_request(HOOK, BODY).replace(b"HTTP/1.1", b"HTTP/9.9"),
    "a chunk whose size is no number": http_request(HOOK, b"zz\r\n" + BODY, headers=[CHUNKED]),
    "a chunk longer than it says": http_request(HOOK, b"1\r\n" + BODY + b"\r\n0\r\n\r\n", headers=[CHUNKED]),
    "chunks, twice": http_request(HOOK, chunked(BODY), headers=[CHUNKED, CHUNKED]),
    "chunks that are not the last coding": http_request(HOOK, BODY, headers=[("Transfer-Encoding", "chunked, gzip")]),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "noise": bytes(range(1, 256)),
}

FAT_HEAD = [(f"X-{number}", "a" * 8_000) for number in range(115)]
HEALTH = http_request("/healthz", method="GET")
EVENT = http_request(HOOK, BODY)

FAT_HEADS = {
    "a header of 10,000 bytes": (b"", http_request(HOOK, BODY, headers=[(HEADER, "a" * 10_000)])),
    "a thousand headers": (b"", http_request(HOOK, BODY, headers=[(f"X-{n}", "a") for n in range(1000)])),
    "a path of 10,000 bytes": (b"", http_request(HOOK + "a" * 10_000, BODY)),
    "three headers of 8,000 bytes": (b"", http_request(HOOK, BODY, headers=FAT_HEAD[:3])),
    "115 headers of 8,000 bytes": (b"", http_request(HOOK, BODY, headers=FAT_HEAD)),
    "no end": (b"", http_request(HOOK, BODY, headers=FAT_HEAD).partition(b"\r\n\r\n")[0]),
    "fat behind an event": (EVENT, http_request(HOOK, BODY, headers=FAT_HEAD)),
    "fat behind what is aiohttp's": (HEALTH, http_request("/healthz", method="GET", headers=FAT_HEAD)),
    "three headers behind what is aiohttp's": (HEALTH, http_request("/", method="GET", headers=FAT_HEAD[:3])),
    "no end behind what is aiohttp's": (HEALTH, http_request("/", headers=FAT_HEAD).partition(b"\r\n\r\n")[0]),
    "a long line behind what is aiohttp's": (HEALTH * 3, http_request("/" + "a" * 10_000, method="GET")),
}

BAD_SIGNATURES: dict[str, list[str | bytes]] = {
    "none": [],
    "a good one, twice": [GOOD, GOOD],
    "a good one and a bad one": [GOOD, "sha256=" + "0" * 64],
    "two in one header": [f"{GOOD},{GOOD}"],
    "an empty one": [""],
    "only the prefix": ["sha256="],
    "another prefix": [GOOD.replace("sha256", "sha1")],
    "another version": [GOOD.replace("sha256=", "v2,")],
    "the prefix twice": ["sha256=" + GOOD],
    "too short": [GOOD[:-2]],
    "too long": [GOOD + "00"],
    "an odd number of digits": [GOOD[:-1]],
    "one digit changed": [GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1")],
    "no hex": ["sha256=" + "g" * 64],
    "spaces among the digits": ["sha256=" + " ".join(["aa"] * 22)[:64]],
    "bytes that are no UTF-8": [b"sha256=\xff\xfe" + b"0" * 62],
    "letters beyond ASCII": ["sha256=" + "é" * 64],
    "digits of another script": ["sha256=" + "٣" * 64],
    "base64 with a bad character": [base64.b64encode(DIGEST).decode()[:-2] + "!="],
    "base64 without padding": [base64.b64encode(DIGEST).decode().rstrip("=")],
    "base64 of another digest": [base64.b64encode(DIGEST[::-1]).decode()],
    "base64 of something short": ["YQ=="],
    "another body's": [sign_hmac_sha256(body_of(2), secret=SECRET)],
    "made with another secret": [sign_hmac_sha256(BODY, secret="guessed")],
}


@pytest.mark.parametrize("why", BAD_HTTP)
async def test_bad_http_gets_400(receiver: RunningReceiver, server: RedisClient, why: str) -> None:
    """Bad HTTP is refused in spite of a good token, nothing of it gets to Redis, and the next event is accepted."""
    assert (await receiver.send(BAD_HTTP[why])).status == 400
    assert await server.dbsize() == 0
    assert (await receiver.deliver(body_of(2))).json["status"] == "accepted"


@pytest.mark.parametrize("why", FAT_HEADS)
async def test_a_fat_head_gets_431(receiver: RunningReceiver, server: RedisClient, why: str) -> None:
    """A head over the limit is refused and its connection closed, whichever limit it is, and whatever came before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    before, fat = FAT_HEADS[why]
    writer.write(before + fat)
    for _ in range(before.count(b" HTTP/1.1")):
        assert (await read_answer(reader)).status < 300
    answer = await read_answer(reader)
    assert (answer.status, answer.json) == (431, {"error": "the head of the request is too large"})
    assert answer.header("Connection") == "close"
    assert await reader.read() == b""
    writer.close()
    assert await server.zcard(KEYS.queue) == (before.count(b"POST"))
    assert receiver.counters.refused == 1
    assert (await receiver.deliver(body_of(2))).json["status"] == "accepted"


async def test_a_head_just_under_the_limit_is_taken(receiver: RunningReceiver) -> None:
    """Proxies add headers: what fits into the limit is accepted on both ways."""
    rest = MAX_HEAD_BYTES - len(http_request(HOOK, BODY, headers=[("Content-Type", "application/json")])) + len(BODY)
    padding = [("X-A", "a" * 8_000), ("X-B", "b" * 4_000), ("X-C", "c" * (rest - 12_000 - 21))]
    request = http_request(HOOK, BODY, headers=[("Content-Type", "application/json"), *padding])
    assert len(request) - len(BODY) == MAX_HEAD_BYTES
    assert (await receiver.send(request)).status == 200
    health = http_request("/healthz", method="GET", headers=padding)
    assert (await receiver.send(health)).status == 200


@pytest.mark.parametrize("rest", [b"", b"5\r\nabc", b"zz\r\n"], ids=["nothing", "half a chunk", "a broken chunk"])
async def test_a_body_that_does_not_arrive_in_time_gets_408(
    receiver: RunningReceiver, server: RedisClient, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    """A body that stops, or breaks in a way that aiohttp does not report, does not hold the connection."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request(HOOK, b"5\r\n" + BODY[:5] + b"\r\n", headers=[CHUNKED], close=True))
    await writer.drain()
    assert (await receiver.deliver(body_of(2))).status == 200  # the others are not kept waiting
    writer.write(rest)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"error":"the body did not arrive in time"}')
    writer.close()
    assert await server.zcard(KEYS.queue) == 1


@pytest.mark.parametrize("headers", [[("Content-Length", SIZE)], [CHUNKED]])
async def test_a_body_that_breaks_off_is_no_event(
    receiver: RunningReceiver, server: RedisClient, headers: list[tuple[str, str]]
) -> None:
    """When the sender goes away in the middle of a body, nothing is stored, and no fault of ours is counted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    part = b"5\r\n" + BODY[:5] + b"\r\n" if headers == [CHUNKED] else BODY[:5]
    writer.write(http_request(HOOK, part, headers=headers))
    writer.write_eof()
    assert b" 500 " not in await reader.read()
    writer.close()
    assert await server.dbsize() == 0
    assert receiver.counters.refused == 1


@pytest.mark.parametrize("why", BAD_SIGNATURES)
@pytest.mark.parametrize("token", [TOKEN, None], ids=["with token", "without token"])
async def test_a_bad_signature_gets_401(start: Start, server: RedisClient, why: str, token: str | None) -> None:
    """A bad signature is refused with and without a good token, nothing gets to Redis, and the good one is accepted."""
    receiver = await start(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET])
    answer = await receiver.deliver(BODY, token=token, headers=[(HEADER, value) for value in BAD_SIGNATURES[why]])
    assert answer.status == 401
    assert answer.json["error"].startswith("signature refused: ")
    assert await server.dbsize() == 0
    assert (await receiver.deliver(BODY, token=token, headers=[(HEADER, GOOD)])).status == 200


@pytest.mark.parametrize("name", ["User-Agent", "Content-Type", "webhook-id", "webhook-timestamp"])
async def test_a_header_that_is_no_utf8_does_no_harm(receiver: RunningReceiver, name: str) -> None:
    """A header that is no UTF-8 is kept as well as it can be, and the other events of its batch are stored."""
    value = b"application/json; charset=\xff\xfe" if name == "Content-Type" else b"agent \xff\xfe"
    odd = http_request(HOOK, BODY, headers=[(name, value)])
    answers = await asyncio.gather(receiver.send(odd), *(receiver.deliver(body_of(number)) for number in range(2, 6)))
    assert [answer.status for answer in answers] == [200] * 5
