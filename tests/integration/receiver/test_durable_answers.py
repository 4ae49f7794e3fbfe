"""What a 200 stands for, and what is answered while Redis is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from broker.records import Job
from broker.redis.client import close
from konvox.signatures import sign_hmac_sha256
from receiver.verification import AccountPolicy
from tests.support.events import body_of
from tests.support.http import TOKEN, Answer, RunningReceiver, http_request, receiving
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer

Start = Callable[..., Awaitable[RunningReceiver]]

NOT_STORED = {"error": "not stored, try again"}
MOST_SECONDS = 5.0

T = TypeVar("T")


@pytest.fixture
async def fragile(own_valkey: ValkeyServer) -> AsyncIterator[RunningReceiver]:
    """A receiver on the server that the test may break; it has accepted an event."""
    connection = connect(own_valkey.url())
    async with receiving(AccountPolicy(tokens=[TOKEN]), connection) as receiver:
        assert (await receiver.deliver(body_of(0))).status == 200
        yield receiver
    await close(connection)


async def test_what_was_answered_with_200_is_in_redis(receiver: RunningReceiver, redis_url: str) -> None:
    """When the answer comes, the job, its place in the queue, the log entry, the dedupe key and the count are there."""
    agent = [("User-Agent", "Konvox/1.0"), ("Authorization", "Bearer s3cret"), ("Cookie", "s3cret")]
    event_id = (await receiver.deliver(body_of(1), headers=agent)).json["id"]
    other = connect(redis_url)
    try:
        payload = await other.get(KEYS.job_key(event_id))
        assert payload is not None
        job = Job.from_bytes(payload)
        assert job.record.id == job.id == event_id
        assert job.record.raw == body_of(1)
        assert job.record.headers == {"content-type": "application/json", "user-agent": "Konvox/1.0"}
        assert abs(job.record.received_at_ms / 1000 - time.time()) < 60
        assert await other.zrange(KEYS.queue, 0, -1) == [event_id.encode()]
        [(log_id, fields)] = await other.xrange(KEYS.log)
        assert fields == {b"job": payload}
        assert await other.get(KEYS.seen_key(event_id)) == log_id
        assert await other.hgetall(KEYS.ledger) == {b"accepted": b"1"}
        assert await other.ttl(KEYS.job_key(event_id)) == -1
    finally:
        await close(other)


async def test_no_credential_is_kept(start: Start, server: RedisClient) -> None:
    """Neither the token nor the signature nor another header's secret is anywhere in Redis."""
    receiver = await start(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=["the-signing-secret"])
    signature = sign_hmac_sha256(body_of(1), secret="the-signing-secret")
    headers = [("X-Konvox-Signature", signature), ("Authorization", "Bearer s3cret"), ("X-API-Key", "s3cret")]
    event_id = (await receiver.deliver(body_of(1), headers=headers)).json["id"]
    job = await server.get(KEYS.job_key(event_id))
    assert job is not None
    stored = job + repr(await server.xrange(KEYS.log)).encode()
    for secret in (TOKEN, signature.removeprefix("sha256="), "the-signing-secret", "s3cret"):
        assert secret.encode() not in stored


async def test_the_same_body_four_times_at_once_is_one_event(receiver: RunningReceiver, server: RedisClient) -> None:
    """Of four deliveries at once one is accepted, three are duplicates, and one job waits."""
    answers = await asyncio.gather(*(receiver.deliver(body_of(1)) for _ in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert sorted(answer.json["status"] for answer in answers) == ["accepted", "duplicate", "duplicate", "duplicate"]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert await server.zcard(KEYS.queue) == await server.xlen(KEYS.log) == 1
    assert await server.hgetall(KEYS.ledger) == {b"accepted": b"1", b"duplicates": b"3"}


async def test_many_events_at_once_are_each_accepted_once(receiver: RunningReceiver, server: RedisClient) -> None:
    """Three deliveries of each of a hundred events, all at once, each get the answer of their own event."""
    answers = await asyncio.gather(*(receiver.deliver(body_of(number % 100)) for number in range(300)))
    accepted = [answer.json["id"] for answer in answers if answer.json["status"] == "accepted"]
    assert len(accepted) == len(set(accepted)) == 100
    assert {id_.decode() for id_ in await server.zrange(KEYS.queue, 0, -1)} == set(accepted)
    for number, answer in enumerate(answers):
        assert answer.json["id"] == answers[number % 100].json["id"]


async def test_redis_gone_is_503_until_it_is_back(fragile: RunningReceiver, own_valkey: ValkeyServer) -> None:
    """Without Redis the answer is a 503 at once, health still answers, and once Redis is back events are accepted."""
    own_valkey.kill()
    for number in (1, 2):
        assert_unavailable(await in_time(fragile.deliver(body_of(number))))
    assert (await fragile.send(http_request("/healthz", method="GET"))).status == 200
    own_valkey.start()
    assert [(await fragile.deliver(body_of(number))).json["status"] for number in (0, 1)] == ["duplicate", "accepted"]
    assert fragile.counters.unavailable == 2


async def test_redis_hung_is_503_until_it_answers(fragile: RunningReceiver, own_valkey: ValkeyServer) -> None:
    """While Redis hangs, all who wait get a 503 in time for Konvox, and events are taken again once it answers."""
    assert own_valkey.process is not None
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        for answer in await in_time(asyncio.gather(*(fragile.deliver(body_of(1)) for _ in range(4)))):
            assert_unavailable(answer)
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)
    # The server may have written it after all: then this is a duplicate, and just as good.
    assert (await fragile.deliver(body_of(1))).status == 200
    assert (await fragile.deliver(body_of(2))).json["status"] == "accepted"


async def test_there_is_no_200_before_redis_has_answered(fragile: RunningReceiver, own_valkey: ValkeyServer) -> None:
    """While Redis is silent a request waits, and it is answered when Redis is."""
    assert own_valkey.process is not None
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        delivery = asyncio.create_task(fragile.deliver(body_of(1)))
        done, _ = await asyncio.wait([delivery], timeout=0.5)
        assert not done
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)
    assert (await delivery).json["status"] == "accepted"


async def in_time(answer: Awaitable[T]) -> T:
    """What is awaited, in less time than promised."""
    async with asyncio.timeout(MOST_SECONDS):
        return await answer


def assert_unavailable(answer: Answer) -> None:
    """It is the answer for events that could not be stored."""
    assert (answer.status, answer.json) == (503, NOT_STORED)
    assert answer.header("Retry-After") == "5"
