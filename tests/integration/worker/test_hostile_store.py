"""What stands in Redis is input: whatever somebody writes at our keys, good events are delivered and commands work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import dead_letters, event_log
from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.errors import BrokerUnavailableError
from broker.ledger import read_ledger
from broker.records import Job
from broker.redis.client import close
from broker.safe_admission import Preflight, SafeAdmission
from broker.untrusted import text_of
from konvox.events import Event
from tests.support.events import admitted, claimed, job_of
from tests.support.logwatch import watching
from tests.support.store import KEYS, RedisClient, connect
from tests.support.workers import handler, running, until

OLD, NEW = range(3), range(3, 5)
"""The numbers of the events that are admitted before somebody writes to Redis, and after."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def changed_jobs(draw: st.DrawFn) -> bytes:
    """A job of ours with one field changed or gone."""
    job = orjson.loads(job_of(draw(st.sampled_from(OLD))).to_bytes())
    name = draw(st.sampled_from([*job["k"], "k", "f", "new"]))
    part = job if name in {"k", "f"} else job["k"]
    if draw(st.booleans()):
        part[name] = draw(JSON)
    else:
        part.pop(name, None)
    return orjson.dumps(job, default=repr, option=orjson.OPT_NON_STR_KEYS) if _is_storable(job) else b"{}"


def _is_storable(job: Any) -> bool:
    try:
        orjson.dumps(job)
    except TypeError:
        return False
    return True


BYTES = (
    st.binary(max_size=20)
    | st.sampled_from([b"", b"null", b"{}", b"[]", b"nan", b"-1", b"1.5", b"9" * 30, b"evt_1", b"x" * 100_000, b"\xff"])
    | st.sampled_from([b"5 1000 token", b"0 1 t", b"9 9999999999999999999 t", b'{"state": 5}', b"1-1", b"99-x"])
    | changed_jobs()
)
IDS = st.sampled_from([job_of(number).id.encode() for number in OLD]) | st.sampled_from(
    [
        b"\xff\xfe",
        b"",
        b"evt_1/h",
        b"~/#:",
        b"a\nb\x1b[2J",
        b".open",
        b".dead",
        b"accepted",
        b"extra",
        b"accepted:aside",
    ]
)
SINGLE = [
    *(KEYS.queue, KEYS.leases, KEYS.next_lapse, KEYS.crashes, KEYS.suspects, KEYS.log, KEYS.ledger, KEYS.dead),
    *(KEYS.dead_index, KEYS.idle),
]
OF_EVENTS = [
    name(job_of(number).id)
    for number in OLD
    for name in (KEYS.job_key, KEYS.seen_key, KEYS.replays_key, KEYS.delivery_key)
]
NAMES = st.sampled_from([*SINGLE, *OF_EVENTS, KEYS.outcomes_key(job_of(0).record.received_at_ms)])
SCORES = st.sampled_from([b"-inf", b"+inf", b"0", b"1", b"-5", b"1e300"])
COMMANDS = st.one_of(
    st.tuples(st.just(b"SET"), BYTES),
    st.tuples(st.just(b"RPUSH"), BYTES),
    st.tuples(st.just(b"SADD"), BYTES),
    st.tuples(st.just(b"HSET"), IDS | BYTES, BYTES),
    st.tuples(st.just(b"ZADD"), SCORES, IDS | BYTES),
    st.tuples(st.just(b"XADD"), st.sampled_from([b"*", b"18446744073709551615-1"]), st.just(b"job") | BYTES, BYTES),
)
WRITES = st.lists(st.tuples(NAMES, st.booleans(), COMMANDS), min_size=1, max_size=8)


async def write(server: RedisClient, name: str, command: Sequence[bytes], *, replace: bool) -> None:
    """What somebody else writes to a key of ours: into what is there, or in its place."""
    if replace:
        await server.delete(name)
    pipeline = server.pipeline(transaction=False)
    pipeline.execute_command(command[0], name, *command[1:])
    await pipeline.execute(raise_on_error=False)


async def accept(server: RedisClient, jobs: Sequence[Job]) -> None:
    """Admit jobs as a receiver does: after a refusal it looks at the store again."""
    write_safely = SafeAdmission(server, AdmissionPolicy(), Preflight(server, "memory"))
    for _ in range(3):
        try:
            await write_safely(jobs)
        except BrokerUnavailableError:
            continue
        return
    raise AssertionError("the events were never admitted")


async def look_at_everything(server: RedisClient) -> None:
    """What commands and metrics read. All of it is listed in the end as JSON and as text, so it must be storable."""
    ledger = await audit(server)
    await read_ledger(server, spooled=[job_of(0).delivery])
    logged = [each async for each in event_log.events(server)]
    for number in OLD:
        logged += await event_log.find_events(server, job_of(number).record.id)
    logged += (await event_log.events_after(server, "0-0", wait_ms=1))[0]
    letters = [letter async for letter in dead_letters.list_dead_letters(server)]
    for letter in letters[:3]:
        await dead_letters.find_dead_letters(server, letter.id)
    orjson.dumps([ledger, [(each.delivery, each.state, each.outcomes) for each in logged], letters])


async def deliver_despite(redis_url: str, writes: Sequence[tuple[str, bool, Sequence[bytes]]]) -> None:
    """Old events, then somebody's writes, then new events: the new ones are delivered."""
    server = connect(redis_url)
    ran: set[str] = set()

    async def note(event: Event, _: object) -> None:
        ran.add(event.id)

    try:
        await server.flushdb()
        await admitted(server, len(OLD))
        await claimed(server, token="of a worker that died:1", count=1)
        for name, replace, command in writes:
            await write(server, name, command, replace=replace)
        await look_at_everything(server)
        new = [job_of(number) for number in NEW]
        async with asyncio.timeout(20), running(redis_url, handler(note, attempts=1)):
            await accept(server, new)
            await until(lambda: _is_subset({job.record.id for job in new}, ran))
        await look_at_everything(server)
        letters = [letter async for letter in dead_letters.list_dead_letters(server)]
        await dead_letters.drop(server, letters[:5], retention_ms=1000)
    finally:
        await close(server)


async def _is_subset(wanted: set[str], ran: set[str]) -> bool:
    return wanted <= ran


@pytest.mark.timeout(240)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES)
def test_nothing_at_our_keys_stops_the_service(redis_url: str, writes: Any) -> None:
    """Arbitrary bytes, types and fields at every key of ours: events that come afterwards are delivered."""
    asyncio.run(deliver_despite(redis_url, writes))


@pytest.mark.parametrize("kind", ["SET", "RPUSH", "HSET", "ZADD", "XADD", "SADD"])
@pytest.mark.parametrize("name", [*SINGLE, *OF_EVENTS[:4], KEYS.outcomes_key(job_of(0).record.received_at_ms)])
async def test_no_type_of_a_key_stops_the_service(redis_url: str, name: str, kind: str) -> None:
    """A key of ours that somebody has made another type is set aside, and events are delivered."""
    arguments = {"HSET": [b"f", b"v"], "ZADD": [b"1", b"m"], "XADD": [b"*", b"f", b"v"]}.get(kind, [b"v"])
    await deliver_despite(redis_url, [(name, True, [kind.encode(), *arguments])])


@pytest.mark.parametrize(
    "change",
    [
        {"delivery": None},
        {"delivery": "another"},
        {"event_id": None},
        {"event_id": ["evt_1"]},
        {"event_type": 5},
        {"received_at_ms": "soon"},
        {"received_at_ms": 1e300},
        {"received_at_ms": True},
        {"received_at_ms": -1},
        {"headers": None},
        {"headers": {"User-Agent": None}},
        {"body": None},
        {"body": {}},
        {"account": 5},
        {"replayed": "no"},
        {"handler": 5},
        {"handler": "another"},
        {"attempt": "1"},
        {"attempt": 10**12},
    ],
    ids=str,
)
async def test_a_job_with_a_wrong_field_becomes_a_dead_letter(
    server: RedisClient, redis_url: str, change: dict[str, Any]
) -> None:
    """A job that is not ours to the last field is kept as a dead letter with what stood there, and others run."""
    [wrong, right] = await admitted(server, 2)
    job = orjson.loads(wrong.to_bytes())
    job["k"] |= change
    text = orjson.dumps(job)
    await server.set(KEYS.job_key(wrong.id), text)
    ran: list[str] = []

    async def note(event: Event, _: object) -> None:
        ran.append(event.id)

    async with running(redis_url, handler(note)):
        await until(lambda: server.hlen(KEYS.dead))
        await until(lambda: _is_subset({right.record.id}, set(ran)))
    [letter] = [letter async for letter in dead_letters.list_dead_letters(server)]
    assert (letter.id, letter.reason, letter.job) == (wrong.id, "missing", text.decode())
    assert ran == [right.record.id]
    assert (await audit(server)).balanced


async def test_what_nobody_admitted_is_counted_when_it_is_set_aside(server: RedisClient, redis_url: str) -> None:
    """Ids and jobs that somebody has queued become dead letters with their bytes, and the ledger balances."""
    await admitted(server, 1)
    for name, job in ((b"\xff\xfe", b"\x80\x81"), (b"evt_x/h#2", b"null"), (b"a\nb", b'{"k": 1}')):
        await server.set(KEYS.job_key(text_of(name)), job)
        await write(server, KEYS.queue, [b"ZADD", b"1", name], replace=False)

    async def nothing(_: Event, __: object) -> None:
        pass

    async with running(redis_url, handler(nothing)):
        await until(lambda: _is_letter_count(server, 3))
    letters = {letter.id: letter.job async for letter in dead_letters.list_dead_letters(server)}
    assert letters == {"\\xff\\xfe": "base64:gIE=", "evt_x/h#2": "null", "a\nb": '{"k": 1}'}
    ledger = await audit(server)
    assert (ledger.balanced, ledger.accepted, ledger.dead) == (True, 4, 3)
    assert await dead_letters.drop(server, [*await _letters(server)], retention_ms=1000) == 3
    assert (await audit(server)).balanced


async def _letters(server: RedisClient) -> list[dead_letters.DeadLetter]:
    return [letter async for letter in dead_letters.list_dead_letters(server)]


async def _is_letter_count(server: RedisClient, count: int) -> bool:
    return await server.hlen(KEYS.dead) == count


async def test_a_message_that_is_no_push_is_passed_over(server: RedisClient, redis_url: str) -> None:
    """Junk on the channels of a worker stops nothing, and is named."""
    ran: list[str] = []

    async def note(event: Event, _: object) -> None:
        ran.append(event.id)

    with watching() as log:
        async with running(redis_url, handler(note)):
            await until(lambda: server.hlen(KEYS.idle))
            [channel] = await server.pubsub_channels(f"{KEYS.push_prefix}*")
            for message in (b"", b"\xff", b"token", b"token 1 x\n", b"token -5 5\nab", b"t 1 1\nab"):
                await server.publish(channel, message)
            await admit(server, [job_of(1)], AdmissionPolicy())
            await until(lambda: _is_subset({job_of(1).record.id}, set(ran)))
    assert log.of("push.unreadable")


async def test_odd_letters_and_entries_hide_no_others(server: RedisClient, redis_url: str) -> None:
    """A dead letter or an entry of the log that is none of ours is named, and the others are listed."""

    async def fail(_: Event, __: object) -> None:
        raise ValueError("no")

    await admitted(server, 2)
    async with running(redis_url, handler(fail, attempts=1)):
        await until(lambda: _is_letter_count(server, 2))
    first, second = sorted(letter.id for letter in await _letters(server))
    await server.hset(KEYS.dead, first, b"\xff no JSON")
    await server.xadd(KEYS.log, {"other": b"x"})
    await server.hset(KEYS.ledger, "accepted", "many")
    letters = {letter.id: letter.error for letter in await _letters(server)}
    assert letters[second] == "ValueError: no"
    assert "cannot be read" in letters[first]
    assert len([each async for each in event_log.events(server)]) == 2
    ledger = await audit(server)
    assert f"{KEYS.ledger} accepted" in ledger.misplaced
    assert any(place.startswith(KEYS.log) for place in ledger.misplaced)
