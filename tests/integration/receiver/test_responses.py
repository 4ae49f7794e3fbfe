"""Every row of the HTTP table: what the receiver answers, to the letter."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pytest

from konvox.envelope import event_id, parse_envelope
from konvox.signatures import sign_hmac_sha256
from tests.support.events import body_of
from tests.support.http import TOKEN, RunningReceiver, http_request, read_answer
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

SECRET, HEADER = "the-signing-secret", "X-Konvox-Signature"
SIGNED: dict[str, Any] = {"scheme": "hmac-sha256", "signing_secrets": [SECRET]}

HOOK = f"/hooks/konvox/{TOKEN}"
NOT_FOUND = {
    "an unknown path": ("POST", "/hooks/other"),
    "the root": ("POST", "/"),
    "a wrong token": ("POST", "/hooks/konvox/wrong"),
    "a token with a letter too many": ("POST", HOOK + "x"),
    "a token in capitals": ("POST", HOOK.upper()),
    "two slashes behind the token": ("POST", HOOK + "//"),
    "two slashes before the token": ("POST", f"/hooks/konvox//{TOKEN}"),
    "two slashes inside the path": ("POST", f"/hooks//konvox/{TOKEN}"),
    "two slashes before the path": ("POST", "/" + HOOK),
    "a path below the token, and a query": ("POST", HOOK + "/events?a=b"),
    "a good token in the query": ("POST", f"/hooks/konvox?token={TOKEN}"),
    "a good token in the query of a wrong one": ("POST", f"/hooks/konvox/wrong?token={TOKEN}"),
    "a path below the token": ("POST", HOOK + "/events"),
    "no token, where there is no signature": ("POST", "/hooks/konvox"),
    "an empty token": ("POST", "/hooks/konvox/"),
    "a token that is no UTF-8": ("POST", "/hooks/konvox/%ff%fe"),
    "a wrong token, probed with GET": ("GET", "/hooks/konvox/wrong"),
    "a wrong token, probed with OPTIONS": ("OPTIONS", "/hooks/konvox/wrong?a"),
    "no token, probed with GET": ("GET", "/hooks/konvox"),
    "no token, probed with OPTIONS": ("OPTIONS", "/hooks/konvox/"),
    "everything, probed with OPTIONS": ("OPTIONS", "/"),
    "the right token, another wrong method": ("DELETE", HOOK),
    "a wrong token, wrong method": ("PUT", "/hooks/konvox/wrong"),
    "the right token, yet another wrong method": ("PATCH", HOOK),
    "health, wrong method": ("POST", "/healthz"),
    "what only the admin listener has": ("GET", "/metrics"),
}


async def test_an_event_is_accepted(receiver: RunningReceiver) -> None:
    """An event is answered with 200, `accepted`, and the id that is minted from its content."""
    answer = await receiver.deliver(body_of(1))
    assert answer.status == 200
    assert answer.json == {"status": "accepted", "id": event_id(parse_envelope(body_of(1)))}


async def test_every_kind_of_connection_gets_the_same_answer(receiver: RunningReceiver) -> None:
    """Status, type and body are the same on a connection that stays, on one that ends, and with HTTP/1.0."""
    await receiver.deliver(body_of(1))
    stays = http_request(HOOK, body_of(1))
    answers = [
        await receiver.send(request)
        for request in (stays, http_request(HOOK, body_of(1), close=True), stays.replace(b"HTTP/1.1", b"HTTP/1.0"))
    ]
    assert [answer.header("Connection") for answer in answers] == [None, "close", None]
    assert len({(answer.status, answer.body, answer.header("Content-Type")) for answer in answers}) == 1
    assert all(answer.json["status"] == "duplicate" for answer in answers)
    assert all(parsedate_to_datetime(answer.header("Date") or "").tzinfo for answer in answers)


async def test_many_requests_share_a_connection(receiver: RunningReceiver) -> None:
    """Requests one after the other, or all at once, are each answered in turn, good ones among bad ones."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    bodies = [body_of(1), b"no event", body_of(2), b"", body_of(1), body_of(3)]
    statuses = [200, 400, 200, 400, 200, 200]
    for body, status in zip(bodies, statuses, strict=True):
        writer.write(http_request(HOOK, body))
        assert (await read_answer(reader)).status == status
    writer.writelines(http_request(HOOK, body) for body in bodies)
    answers = [await read_answer(reader) for _ in bodies]
    assert [answer.status for answer in answers] == statuses
    assert answers[0].json["id"] == answers[4].json["id"] != answers[2].json["id"]
    writer.close()


async def test_the_same_event_again_is_a_duplicate(receiver: RunningReceiver) -> None:
    """A repeated event is a 200, `duplicate`, with the same id, even if white space or the order of keys differs."""
    first = (await receiver.deliver(body_of(1))).json
    rewritten = orjson.dumps(dict(reversed(orjson.loads(body_of(1)).items())), option=orjson.OPT_INDENT_2)
    for body in (body_of(1), rewritten):
        answer = await receiver.deliver(body)
        assert answer.status == 200
        assert answer.json == {"status": "duplicate", "id": first["id"]}
    assert (receiver.counters.accepted, receiver.counters.duplicates) == (1, 2)


@pytest.mark.parametrize(
    "body",
    [
        b'{"event": "campaign.exploded", "timestamp": "2026-05-20T14:32:00.000Z", "companyId": "c", "data": [1]}',
        b'{"event": "contact.replied", "timestamp": 5, "data": "nonsense"}',
        b'{"event": "contact.replied"}',
        b'{"event": "enrollment.unsubscribed", "data": {"reason": "mood"}}',
    ],
)
async def test_an_odd_event_is_accepted(receiver: RunningReceiver, body: bytes) -> None:
    """An event of unknown type, or one that does not fit its model, is accepted: a refusal would cost the event."""
    assert (await receiver.deliver(body)).json["status"] == "accepted"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"]
)
async def test_json_by_any_of_its_names_is_accepted(receiver: RunningReceiver, content_type: str) -> None:
    """A JSON content type is accepted with capitals, with parameters, and as a `+json` type."""
    answer = await receiver.send(http_request(HOOK, body_of(1), headers=[("Content-Type", content_type)]))
    assert answer.status == 200


async def test_a_request_without_content_type_is_taken_for_json(receiver: RunningReceiver) -> None:
    """A request without a content type is taken for JSON, and not refused for that."""
    assert (await receiver.send(http_request(HOOK, body_of(1), headers=[]))).status == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "not a Konvox event: not JSON: EOF while parsing a value at line 1 column 0"),
        (b"hello", "not a Konvox event: not JSON: expected value at line 1 column 1"),
        (b"[]", "not a Konvox event: the array holds no event"),
        (b"{}", 'not a Konvox event: "event" must name the event, such as "contact.replied"'),
        (b'{"event": " "}', 'not a Konvox event: "event" must name the event, such as "contact.replied"'),
    ],
)
async def test_what_is_no_event_gets_400(
    receiver: RunningReceiver, server: RedisClient, body: bytes, error: str
) -> None:
    """The answer to a body that is no event says what is wrong with it."""
    answer = await receiver.deliver(body)
    assert (answer.status, answer.json) == (400, {"error": error})
    assert await server.dbsize() == 0
    assert receiver.counters.refused == 1


async def test_a_missing_signature_gets_401(start: Start, server: RedisClient) -> None:
    """Where a signature is configured, a good token is not enough."""
    receiver = await start(tokens=[TOKEN], **SIGNED)
    for token in (TOKEN, None):
        answer = await receiver.deliver(body_of(1), token=token)
        assert (answer.status, answer.json) == (401, {"error": "signature refused: missing"})
    assert await server.dbsize() == 0


async def test_a_good_signature_gets_in(start: Start) -> None:
    """A signature is good with and without a token in the path, in hex with and without prefix, and in base64."""
    receiver = await start(tokens=[TOKEN], **SIGNED)
    body = body_of(1)
    signature = sign_hmac_sha256(body, secret=SECRET)
    encoded = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
    for value in (signature, signature.removeprefix("sha256="), encoded, "sha256=" + encoded):
        for token in (TOKEN, None):
            assert (await receiver.deliver(body, token=token, headers=[(HEADER, value)])).status == 200


async def test_a_wrong_token_is_not_found_however_well_signed(start: Start) -> None:
    """A token in the path must be right, whatever the signature is."""
    receiver = await start(tokens=[TOKEN], **SIGNED)
    headers = [(HEADER, sign_hmac_sha256(body_of(1), secret=SECRET))]
    assert (await receiver.deliver(body_of(1), token="wrong", headers=headers)).status == 404


@pytest.mark.parametrize("company", [b'"clother"', b"null", b'["clmine"]', b'"clmine "'])
async def test_another_company_gets_401(start: Start, server: RedisClient, company: bytes) -> None:
    """An event of another company is refused, also where the `companyId` is missing or no text."""
    receiver = await start(tokens=[TOKEN], company_ids=frozenset({"clmine", "clours"}))
    answer = await receiver.deliver(b'{"event": "a", "companyId": ' + company + b"}")
    error = "the event's companyId is not one of those that are accepted here"
    assert (answer.status, answer.json) == (401, {"error": error})
    assert (await receiver.deliver(b'{"event": "a"}')).status == 401
    assert await server.dbsize() == 0
    assert (await receiver.deliver(b'{"event": "a", "companyId": "clours"}')).status == 200


async def test_every_404_is_the_same_answer(receiver: RunningReceiver, server: RedisClient) -> None:
    """A wrong token, an unknown path and a wrong method all get exactly the same 404."""
    answers = {
        why: (await receiver.send(http_request(path, body_of(1), method=method))).without_date
        for why, (method, path) in NOT_FOUND.items()
    }
    assert set(answers.values()) == {answers["an unknown path"]}, answers
    assert answers["an unknown path"].startswith(b"HTTP/1.1 404 ")
    assert answers["an unknown path"].endswith(b'{"error":"not found"}')
    assert await server.dbsize() == 0


async def test_a_wrong_token_learns_nothing_about_the_body(receiver: RunningReceiver) -> None:
    """Without a good token every request is a 404, whatever else is wrong with it."""
    headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip"), ("Content-Length", "999999999")]
    assert (await receiver.send(http_request("/hooks/konvox/wrong", headers=headers))).status == 404


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "json", "text/json"])
async def test_another_content_type_gets_415(receiver: RunningReceiver, server: RedisClient, content_type: str) -> None:
    """A request that says that it is not JSON is refused unread."""
    answer = await receiver.send(http_request(HOOK, body_of(1), headers=[("Content-Type", content_type)]))
    assert (answer.status, answer.json) == (415, {"error": "the content type must be application/json"})
    assert await server.dbsize() == 0


async def test_health(receiver: RunningReceiver) -> None:
    """`/healthz` answers without a token, to GET and to HEAD."""
    answer = await receiver.send(http_request("/healthz", method="GET"))
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request("/healthz", method="HEAD", close=True))
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_tokens_and_secrets_are_rotated_without_a_refusal(start: Start) -> None:
    """While old and new tokens and secrets are configured, both are good, many at once, and a third is not."""
    receiver = await start(
        tokens=["new-token-012345", "old-token-012345"],
        scheme="hmac-sha256",
        signing_secrets=["new-secret", "old-secret"],
    )

    async def deliver(number: int) -> int:
        """Deliver an event with one of the four pairs."""
        body = body_of(number)
        token = ["new-token-012345", "old-token-012345"][number % 2]
        secret = ["new-secret", "old-secret"][number // 2 % 2]
        headers = [(HEADER, sign_hmac_sha256(body, secret=secret))]
        return (await receiver.deliver(body, token=token, headers=headers)).status

    assert await asyncio.gather(*map(deliver, range(80))) == [200] * 80
    assert receiver.counters.accepted == 80
    unknown = [(HEADER, sign_hmac_sha256(body_of(1), secret="older-secret"))]
    assert (await receiver.deliver(body_of(1), token="new-token-012345", headers=unknown)).status == 401
    assert (await receiver.deliver(body_of(1), token="older-token-01234")).status == 404
