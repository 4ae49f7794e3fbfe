"""Requests that senders, proxies and platforms may lawfully make of the hook's path: answered, and not logged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from broker.event_log import find_events
from broker.records import Job, Record
from konvox.envelope import event_id, parse_envelope
from konvox.events import plain_event
from tests.support.events import body_of
from tests.support.http import TOKEN, Answer, RunningReceiver, http_request, read_answer
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

HOOK = f"/hooks/konvox/{TOKEN}"
ENDINGS = ["/", "?", "?a=b", "/?a=b&c=/d//e", "?s3cret=%00%ff", "?a?b"]
EVENT = b'{"event":"a","data":1}'
LAWFUL = {
    "a byte order mark": b"\xef\xbb\xbf" + EVENT,
    "white space around it": b" \t\r\n" + EVENT + b"\n\r\t ",
    "a byte order mark and white space": b"\xef\xbb\xbf\n" + EVENT,
    "white space inside": b'{ "event"\n:\t"a" ,\r"data" : 1 }',
    "another order": b'{"data":1,"event":"a"}',
    "escapes": b'{"\\u0065vent":"\\u0061","data":1}',
    "an emoji in two escapes": b'{"event":"a","data":"\\ud83d\\ude00"}',
    "an escaped nothing": b'{"event":"a","data":"\\u0000"}',
    "a control character of C1": b'{"event":"a","data":"\xc2\x85\xe2\x80\xa8"}',
    "a large exponent": b'{"event":"a","data":1E+400}',
    "a small exponent": b'{"event":"a","data":-1e-400}',
    "a large integer": b'{"event":"a","data":' + b"9" * 4_000 + b"}",
    "a key twice": b'{"event":"b","event":"a","data":{"a":1,"a":2}}',
    "an empty key": b'{"":{"":1},"event":"a"}',
    "deep nesting": b'{"event":"a","data":' + b'[{"a":' * 90 + b"1" + b"}]" * 90 + b"}",
    "a name of Unicode": '{"event":"kontakt.geändert 😀"}'.encode(),
    "no data": b'{"event":"a"}',
}


async def answers_by_both_ways(receiver: RunningReceiver, path: str, body: bytes) -> list[Answer]:
    """The answers to a delivery that is plain, and to one that is aiohttp's because of its version."""
    request = http_request(path, body)
    return [await receiver.send(request), await receiver.send(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_slash_or_a_query_makes_no_difference(receiver: RunningReceiver, ending: str) -> None:
    """A delivery to the hook's path with a slash at the end, a query, or both is accepted by either way."""
    answers = await answers_by_both_ways(receiver, HOOK + ending, body_of(1))
    assert [answer.json["status"] for answer in answers] == ["accepted", "duplicate"]
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    for number in (2, 3):
        writer.write(http_request(HOOK + ending, body_of(number)))
        assert (await read_answer(reader)).json["status"] == "accepted"
    writer.close()


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_same_goes_for_a_path_without_a_token(start: Start, ending: str) -> None:
    """Where a signature is configured, the path without a token is reached with all endings, and asks for it."""
    receiver = await start(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=["the-signing-secret"])
    answers = await answers_by_both_ways(receiver, "/hooks/konvox" + ending, body_of(1))
    assert [answer.status for answer in answers] == [401, 401]


async def test_no_query_is_logged(receiver: RunningReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a token nor a query is in the log, whether the request is accepted or refused."""
    for path in (
        f"{HOOK}/?s3cret",
        f"{HOOK}?s3cret",
        "/hooks/konvox/s3cret?s3cret",
        "/hooks/konvox?s3cret",
        "/?s3cret",
    ):
        for body in (body_of(1), b"nonsense"):
            await answers_by_both_ways(receiver, path, body)
        await receiver.send(http_request(path, method="OPTIONS"))
    logged = "".join(capsys.readouterr())
    assert "request.answered" in logged
    assert "s3cret" not in logged
    assert TOKEN not in logged


@pytest.mark.parametrize("ending", ["", *ENDINGS])
async def test_a_probe_with_a_good_token_is_answered(
    receiver: RunningReceiver, server: RedisClient, ending: str
) -> None:
    """GET and HEAD say 200, and OPTIONS says 204 and which methods there are; nothing is stored or counted."""
    get = await receiver.send(http_request(HOOK + ending, method="GET"))
    assert (get.status, get.json) == (200, {"status": "ok"})
    options = await receiver.send(http_request(HOOK + ending, method="OPTIONS"))
    assert (options.status, options.header("Allow"), options.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request(HOOK + ending, method="HEAD", close=True))
    head = await reader.read()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
    writer.close()
    assert await server.dbsize() == 0
    assert receiver.counters.refused == 0


async def test_a_probe_without_a_token_is_answered_where_a_signature_lets_in(start: Start) -> None:
    """There is no secret in that path: it says what a POST to it says as well, that a signature is asked for."""
    signed = await start(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=["the-signing-secret"])
    strict = await start(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=["secret"], needs_token=True)
    for method, status in (("GET", 200), ("OPTIONS", 204), ("PUT", 404)):
        assert (await signed.send(http_request("/hooks/konvox", method=method))).status == status
        assert (await strict.send(http_request("/hooks/konvox", method=method))).status == 404
        assert (await signed.send(http_request("/hooks/konvox/wrong", method=method))).status == 404


async def test_probes_and_deliveries_share_a_connection(receiver: RunningReceiver) -> None:
    """A connection on which somebody probed takes deliveries afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    for method, status in (("GET", 200), ("POST", 200), ("OPTIONS", 204), ("POST", 200)):
        writer.write(http_request(HOOK, body_of(1) if method == "POST" else b"", method=method))
        assert (await read_answer(reader)).status == status
    writer.close()


@pytest.mark.parametrize("why", LAWFUL)
async def test_what_a_reader_may_accept_is_accepted_and_kept(
    receiver: RunningReceiver, server: RedisClient, why: str
) -> None:
    """Whatever RFC 8259 lets a reader take is stored exactly, and is the same when read, exported and imported."""
    body = LAWFUL[why]
    answer = await receiver.deliver(body)
    assert (answer.status, answer.json["status"]) == (200, "accepted")
    assert answer.json["id"] == event_id(parse_envelope(body))
    (found,) = await find_events(server, answer.json["id"])
    record = found.record
    assert record.raw == body
    assert Job.from_bytes(Job.first(record).to_bytes()).record == record
    assert Record.from_line(record.to_line(), now_ms=1) == record
    assert Record.from_line(body, now_ms=1).id == record.id
    event = plain_event(event_id=record.id, raw=record.raw)
    assert event.type == record.type
    assert event.raw == body
    assert (await receiver.deliver(body)).json["status"] == "duplicate"


async def test_forms_of_one_event_are_one_event(receiver: RunningReceiver) -> None:
    """A byte order mark, white space, order and escapes make no other event of it."""
    same = ["a byte order mark", "white space around it", "white space inside", "another order", "escapes"]
    assert (await receiver.deliver(EVENT)).json["status"] == "accepted"
    answers = [await receiver.deliver(LAWFUL[why]) for why in same]
    assert [answer.json["status"] for answer in answers] == ["duplicate"] * len(same)
