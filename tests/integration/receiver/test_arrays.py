"""Arrays of events, as batched deliveries bring them: taken whole in one batch, or refused whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from broker.admission import BATCH_BYTES, BATCH_EVENTS, AdmissionPolicy, to_redis
from broker.audit import audit
from broker.errors import BrokerUnavailableError
from broker.event_log import find_events
from broker.records import Job, Record
from konvox.envelope import event_id, parse_envelope
from konvox.signatures import sign_hmac_sha256, sign_standard_webhooks
from receiver.failover import FailoverWriter
from receiver.group_commit import BATCHES_IN_FLIGHT, GroupCommit
from receiver.spool import Spool
from tests.support.events import body_of, job_of, jobs_of
from tests.support.http import TOKEN, RunningReceiver, chunked, http_request
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

HOOK = f"/hooks/konvox/{TOKEN}"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def array_of(*bodies: bytes, between: bytes = b",") -> bytes:
    """A body that is an array of events."""
    return b"[%s]" % between.join(bodies)


def ids_of_bodies(*bodies: bytes) -> list[str]:
    """The ids of events that are minted from their content."""
    return [event_id(parse_envelope(body)) for body in bodies]


async def test_an_array_is_accepted_whole(receiver: RunningReceiver, server: RedisClient) -> None:
    """Each event of an array has the id and the exact text that it would have alone; the answer names all ids."""
    bodies = [body_of(1), b'{ "event" : "odd", "data":[1e400,"],[\\"\xc3\xa9"] }', body_of(2)]
    answer = await receiver.deliver(array_of(*bodies, between=b" ,\r\n\t"))
    ids = ids_of_bodies(*bodies)
    assert answer.status == 200
    assert answer.json == {"status": "accepted", "accepted": 3, "duplicates": 0, "ids": ids}
    for body, minted in zip(bodies, ids, strict=True):
        (found,) = await find_events(server, minted)
        assert found.record.raw == body
    assert (receiver.counters.accepted, receiver.counters.duplicates) == (3, 0)
    assert (await audit(server)).accepted == 3


async def test_an_array_again_is_a_duplicate(receiver: RunningReceiver) -> None:
    """Events that came before, alone or in an array, are duplicates; one that is new makes the array accepted."""
    one, two, three = body_of(1), body_of(2), body_of(3)
    assert (await receiver.deliver(one)).json["status"] == "accepted"
    answers = [(await receiver.deliver(array_of(*bodies))).json for bodies in ((one, two, two), (one, two), (three,))]
    assert [(it["status"], it["accepted"], it["duplicates"]) for it in answers] == [
        ("accepted", 1, 2),
        ("duplicate", 0, 2),
        ("accepted", 1, 0),
    ]
    assert answers[0]["ids"] == ids_of_bodies(one, two, two)
    assert (await receiver.deliver(two)).json["status"] == "duplicate"
    assert (receiver.counters.accepted, receiver.counters.duplicates) == (3, 5)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 400),
        (array_of(body_of(1), b"{}"), 400),
        (array_of(body_of(1), b'"a"'), 400),
        (array_of(body_of(1), array_of(body_of(2))), 400),
        (array_of(body_of(1), b'{"event":"a","n":NaN}'), 400),
        (array_of(body_of(1), b'{"event":"a","companyId":"clother"}'), 401),
        (array_of(body_of(1), b'{"event":"a"}'), 401),
        (array_of(*[body_of(1)] * (BATCH_EVENTS + 1)), 413),
    ],
)
async def test_an_array_is_refused_whole(start: Start, server: RedisClient, body: bytes, status: int) -> None:
    """One element that is no event, or another company's, keeps out all of them, and so does their number."""
    receiver = await start(tokens=[TOKEN], company_ids=frozenset({"clxyz123"}))
    assert (await receiver.deliver(body)).status == status
    assert await server.dbsize() == 0
    assert receiver.counters.refused == 1


async def test_an_array_may_hold_as_many_events_as_a_batch(receiver: RunningReceiver, server: RedisClient) -> None:
    """The longest array goes in, also in chunks and behind other requests on its connection."""
    bodies = [body_of(number) for number in range(BATCH_EVENTS)]
    headers = [("Transfer-Encoding", "chunked")]
    answer = await receiver.send(http_request(HOOK, chunked(array_of(*bodies)), headers=headers))
    assert (answer.status, answer.json["accepted"]) == (200, BATCH_EVENTS)
    assert (await audit(server)).accepted == BATCH_EVENTS


async def test_the_signature_covers_the_array_as_a_whole(start: Start, server: RedisClient) -> None:
    """A signature of one event, or of other white space, is none of the array."""
    receiver = await start(scheme="hmac-sha256", signing_secrets=["the-signing-secret"])
    array = array_of(body_of(1), body_of(2))
    for signed in (body_of(1), array + b" "):
        headers = [("X-Konvox-Signature", sign_hmac_sha256(signed, secret="the-signing-secret"))]
        assert (await receiver.deliver(array, token=None, headers=headers)).status == 401
    assert await server.dbsize() == 0
    headers = [("X-Konvox-Signature", sign_hmac_sha256(array, secret="the-signing-secret"))]
    assert (await receiver.deliver(array, token=None, headers=headers)).json["accepted"] == 2


async def test_with_standard_webhooks_each_event_has_an_id_of_its_own(start: Start, server: RedisClient) -> None:
    """The `webhook-id` is the delivery's: its events differ, are the same when it comes again, and when imported."""
    receiver = await start(scheme="standard-webhooks", signing_secrets=[WHSEC])
    array = array_of(body_of(1), body_of(1), body_of(2))

    async def deliver(message_id: str, body: bytes) -> list[str]:
        """Deliver a body; returns the ids."""
        now = int(time.time())
        signature = sign_standard_webhooks(body, secret=WHSEC, message_id=message_id, now_seconds=now)
        named = [("webhook-id", message_id), ("webhook-timestamp", str(now)), ("webhook-signature", signature)]
        answer = await receiver.deliver(body, token=None, headers=named)
        assert answer.status == 200
        return list(answer.json.get("ids") or [answer.json["id"]])

    first = await deliver("msg_1", array)
    assert len(set(first)) == 3
    assert await deliver("msg_1", array) == first
    assert not set(await deliver("msg_2", array)) & set(first)
    assert not set(await deliver("msg_1", body_of(1))) & set(first)
    for minted in first:
        (found,) = await find_events(server, minted)
        assert Record.from_line(found.record.to_line(), now_ms=1) == found.record


async def test_an_array_is_one_batch_whatever_waits_before_it(server: RedisClient) -> None:
    """Events that belong together are never in two batches, however full the batch before them is."""
    to_server = to_redis(server, AdmissionPolicy())
    let_through = asyncio.Event()
    batches: list[list[Job]] = []

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, once it may."""
        batches.append(list(jobs))
        await let_through.wait()
        return await to_server(jobs)

    commit = GroupCommit(write)
    callers: list[asyncio.Task[bool] | asyncio.Task[list[bool]]] = []
    for number in range(BATCHES_IN_FLIGHT):
        callers.append(asyncio.create_task(commit.admit(job_of(number))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    arrays = [jobs_of(*range(first, first + 300)) for first in (1000, 2000, 3000)]
    arrays.append(jobs_of(*range(4000, 4000 + BATCH_EVENTS)))
    arrays.append([job_of(5000 + number, subject="x" * (BATCH_BYTES // 3)) for number in range(5)])
    alone = [job_of(6000 + number) for number in range(len(arrays))]
    for single, array in zip(alone, arrays, strict=True):
        callers += [asyncio.create_task(commit.admit(single)), asyncio.create_task(commit.admit_together(array))]
    await asyncio.sleep(0)
    let_through.set()
    results = await asyncio.gather(*callers)
    assert results[BATCHES_IN_FLIGHT:] == [result for array in arrays for result in (True, [True] * len(array))]
    for array in arrays:
        (holder,) = [batch for batch in batches if array[0] in batch]
        start = holder.index(array[0])
        assert holder[start : start + len(array)] == array
    assert sum(map(len, batches)) == len(callers) // 2 + BATCHES_IN_FLIGHT // 2 + sum(map(len, arrays))
    assert all(len(batch) <= BATCH_EVENTS for batch in batches)


async def test_an_array_that_is_not_stored_is_answered_once(server: RedisClient) -> None:
    """When a batch fails, the array fails as a whole; a caller that went away takes nobody with it."""

    async def fail(_: Sequence[Job]) -> list[bool]:
        """Refuse every batch."""
        raise BrokerUnavailableError("gone")

    with pytest.raises(BrokerUnavailableError):
        await GroupCommit(fail).admit_together(jobs_of(1, 2))
    commit = GroupCommit(to_redis(server, AdmissionPolicy()))
    gone = asyncio.create_task(commit.admit_together(jobs_of(1, 2)))
    stays = asyncio.create_task(commit.admit(job_of(3)))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays
    await commit.drain()
    assert (await audit(server)).accepted == 3


async def test_an_array_is_spooled_whole(server: RedisClient, tmp_path: Path) -> None:
    """While Redis is away, an array goes to the spool as a whole, and from there to Redis."""
    to_server = to_redis(server, AdmissionPolicy())
    is_away, waiting, drained = True, 400, asyncio.Event()

    async def write(jobs: Sequence[Job]) -> list[bool]:
        """Write a batch, unless Redis is away."""
        nonlocal waiting
        if is_away:
            raise BrokerUnavailableError("away")
        results = await to_server(jobs)
        waiting -= len(jobs)
        if waiting <= 0:
            drained.set()
        return results

    jobs = jobs_of(*range(400))
    async with Spool(tmp_path / "spool", max_bytes=10_000_000) as spool, FailoverWriter(write, spool) as failover:
        commit = GroupCommit(failover.write, overflow=failover.spool)
        assert await commit.admit_together(jobs) == [True] * 400
        assert await commit.admit_together(jobs) == [False] * 400
        assert failover.spooled_events == 400
        is_away = False
        async with asyncio.timeout(30):
            await drained.wait()
        assert await commit.admit_together(jobs) == [False] * 400
    assert (await audit(server)).accepted == 400


async def test_an_array_that_the_spool_has_no_room_for_leaves_nothing(tmp_path: Path) -> None:
    """When the spool takes only a part of an array, it takes none of it, and the array is not acknowledged."""

    async def write(_: Sequence[Job]) -> list[bool]:
        """Be away."""
        raise BrokerUnavailableError("away")

    async with Spool(tmp_path / "spool", max_bytes=20_000) as spool, FailoverWriter(write, spool) as failover:
        commit = GroupCommit(failover.write)
        with pytest.raises(BrokerUnavailableError):
            await commit.admit_together(jobs_of(*range(400)))
        assert failover.spooled_events == 0
        assert await commit.admit_together(jobs_of(1, 2)) == [True, True]
