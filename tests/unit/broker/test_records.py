"""Records and jobs: what is stored of an event comes back as it was, and nothing else is read as one."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker import ids
from broker.errors import MalformedRecordError
from broker.records import FUNCTION_NAME, Job, Record
from konvox.errors import MalformedEventError
from tests.support.events import RECEIVED_AT_MS, body_of, job_of, record_of

NOW_MS = 1_800_000_000_123

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4),
    max_leaves=10,
)
bodies = st.builds(
    lambda event_type, rest, indent: _dumps({**rest, "event": event_type}, indent),
    texts.filter(str.strip),
    st.dictionaries(texts, json_values, max_size=5),
    st.sampled_from([None, 2, "\t"]),
)
records = st.builds(
    lambda body, at_ms, headers: Record.capture(body, received_at_ms=at_ms, headers=headers),
    bodies,
    st.integers(0, 4_102_444_800_000),
    st.dictionaries(texts, texts, max_size=3),
)


def _dumps(fields: dict[str, Any], indent: int | str | None) -> bytes:
    return json.dumps(fields, indent=indent, ensure_ascii=False).encode()


@given(records)
def test_a_record_survives_its_line_exactly(record: Record) -> None:
    """A record is read from its line exactly as it was, whatever Unicode and white space the body has."""
    line = record.to_line()
    assert b"\n" not in line
    assert Record.from_line(line, now_ms=NOW_MS) == record


@given(records, st.booleans(), st.none() | texts, st.integers(1, 1000))
def test_a_job_survives_redis_exactly(record: Record, replayed: bool, handler: str | None, attempt: int) -> None:
    """A job is read exactly as it was written: the body byte for byte, and all that says what to do with it."""
    job = Job.replay(record) if replayed else Job.first(record)
    if handler is not None:
        job = job.for_handler(handler, attempt=attempt)
    again = Job.from_bytes(job.to_bytes())
    assert again == job
    assert again.record.raw == record.raw
    assert (again.id, again.dead_letter_id) == (job.id, job.dead_letter_id)


def test_the_account_is_read_by_its_former_name() -> None:
    """The account is read as `endpoint` too, as jobs and captures of earlier versions call it."""
    record = Record.capture(body_of(1), received_at_ms=RECEIVED_AT_MS, account="acme")
    job = Job.first(record)
    assert Job.from_bytes(job.to_bytes().replace(b'"account"', b'"endpoint"')) == job
    assert Record.from_line(record.to_line().replace(b'"account"', b'"endpoint"'), now_ms=NOW_MS) == record


@given(bodies)
def test_a_bare_body_is_a_line_as_well(body: bytes) -> None:
    """A line that holds just a Konvox body is an event received now; one with a `body` of its own is a capture."""
    assume(not {"body", "body_base64"} & orjson.loads(body).keys())
    as_one_line = orjson.dumps(orjson.loads(body)) if b"\n" in body else body
    record = Record.from_line(as_one_line + b"\n", now_ms=NOW_MS)
    assert record.received_at_ms == NOW_MS
    assert record.raw == as_one_line


def test_a_body_in_base64_is_read() -> None:
    """A body in base64 is read, as captures have it where the body was not UTF-8."""
    line = orjson.dumps({"body_base64": base64.b64encode(body_of(1)).decode()})
    assert Record.from_line(line, now_ms=NOW_MS).raw == body_of(1)


def test_the_id_of_a_line_is_minted_again() -> None:
    """A line whose body somebody has edited is another event, whichever id it carries."""
    fields = orjson.loads(record_of(1).to_line())
    edited = orjson.dumps({**fields, "body": body_of(2).decode()})
    assert Record.from_line(edited, now_ms=NOW_MS).id == record_of(2).id != fields["id"]


@pytest.mark.parametrize(
    ("received_at", "expected_ms"),
    [
        ("2026-05-20T14:32:00.000Z", RECEIVED_AT_MS),
        ("2026-05-20T16:32:00+02:00", RECEIVED_AT_MS),
        ("2026-05-20T14:32:00", RECEIVED_AT_MS),
        (None, NOW_MS),
    ],
)
def test_the_time_of_a_line(received_at: str | None, expected_ms: int) -> None:
    """The time of a line is ISO 8601, in UTC if it names no time zone, and now if there is none."""
    line = orjson.dumps({"received_at": received_at, "body": body_of(1).decode()})
    assert Record.from_line(line, now_ms=NOW_MS).received_at_ms == expected_ms


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"{}", '"event" must name the event'),
        (b'{"event": ""}', '"event" must name the event'),
        (b'{"event": NaN}', "not JSON"),
        (b'{"body": 5}', '"body" must be the text received'),
        (b'{"body": null, "body_base64": null}', '"body" must be the text received'),
        (b'{"body": "no JSON"}', "not JSON"),
        (b'{"body": "[]"}', "a JSON object is expected"),
        (b'{"body_base64": "***"}', "not base64"),
        (b'{"body_base64": "\\u00e4"}', "not base64"),
        (b'{"body_base64": "/w=="}', "not JSON"),
        (b'{"body": "{\\"event\\": \\"\\\\ud800\\"}"}', "not JSON"),
        (b'{"body": "{\\"event\\":\\"a\\"}", "received_at": "yesterday"}', "ISO 8601"),
        (b'{"body": "{\\"event\\":\\"a\\"}", "received_at": 5}', "ISO 8601"),
        (b'{"body": "{\\"event\\":\\"a\\"}", "received_at": "0001-01-01T00:00:00+23:59"}', "ISO 8601"),
        (b'{"body": "{\\"event\\":\\"a\\"}", "headers": ["a"]}', '"headers" must map'),
        (b'{"body": "{\\"event\\":\\"a\\"}", "headers": {"a": 1}}', '"headers" must map'),
    ],
)
def test_a_line_that_is_no_event_says_why(line: bytes, says: str) -> None:
    """A line that is no event raises one kind of error, with a reason that its reader can fix."""
    with pytest.raises(MalformedRecordError) as caught:
        Record.from_line(line, now_ms=NOW_MS)
    assert says in str(caught.value)


def test_a_body_that_is_no_event_is_not_captured() -> None:
    """A body that is no event cannot become a record."""
    with pytest.raises(MalformedEventError):
        Record.capture(b"{}", received_at_ms=0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"k": null}',
        b'{"k": []}',
        b'{"k": {}}',
        b'{"k": {"event_id": "evt_1"}}',
        b"\xff\xfe",
        b"\x80\x04\x95",
    ],
)
def test_what_is_no_job_of_ours_is_not_read_as_one(payload: bytes) -> None:
    """Nothing but a job of ours is read as one, and a pickle least of all."""
    with pytest.raises(MalformedRecordError):
        Job.from_bytes(payload)


def test_a_job_is_an_ordinary_job_of_arq() -> None:
    """A job has the keys of arq's own jobs, so arq's tools can read it."""
    fields = orjson.loads(job_of(1).to_bytes())
    assert set(fields) == {"t", "f", "a", "k", "et"}
    assert (fields["f"], fields["a"], fields["et"]) == (FUNCTION_NAME, [], RECEIVED_AT_MS)


def test_a_waiting_job_survives_redis_exactly() -> None:
    """What only jobs that wait have is kept, and a job made by hand or by `dead retry` starts without it."""
    record = record_of(1)
    job = Job.first(record).next_attempt("h", waits=3, first_attempt_at_ms=1_800_000_000_000).for_heir("g")
    assert Job.from_bytes(job.to_bytes()) == job
    assert (job.id, job.for_heir("h").heir) == (f"{record.id}/h#2", None)
    again = job.for_handler("h", attempt=1)
    assert (again.waits, again.first_attempt_at_ms, again.heir) == (0, None, "g")


def test_older_and_newer_workers_read_each_others_jobs() -> None:
    """A job says no more than it did unless it waits or has an heir, and what is missing has its usual value."""
    record = record_of(1)
    of_old = {"event_id", "event_type", "received_at_ms", "headers", "body", "account", "delivery", "replayed"}
    of_old |= {"handler", "attempt"}
    assert set(orjson.loads(Job.first(record).to_bytes())["k"]) == of_old
    waiting = orjson.loads(Job.first(record).next_attempt("h", waits=1, first_attempt_at_ms=9).to_bytes())["k"]
    assert set(waiting) == of_old | {"waits", "first_attempt_at_ms"}
    old = Job.from_kwargs({name: value for name, value in waiting.items() if name in of_old})
    assert (old.attempt, old.waits, old.first_attempt_at_ms, old.heir) == (2, 0, None, None)


@pytest.mark.parametrize("name", ["waits", "first_attempt_at_ms", "heir"])
@pytest.mark.parametrize("value", [[], {}, 1.5])
def test_a_job_with_nonsense_in_its_further_fields_is_none_of_ours(name: str, value: object) -> None:
    """It can be put aside, and does not fail again and again."""
    record = record_of(1)
    fields = orjson.loads(Job.first(record).for_handler("h", attempt=2).to_bytes())
    fields["k"][name] = value
    with pytest.raises(MalformedRecordError):
        Job.from_bytes(orjson.dumps(fields))


def test_no_two_pieces_of_work_share_an_id() -> None:
    """The first job, replays, and each attempt of each handler have different ids."""
    record = record_of(1)
    jobs = [Job.first(record), Job.replay(record), Job.replay(record)]
    jobs += [job.for_handler(name, attempt=attempt) for job in jobs[:2] for name in ("a", "b") for attempt in (1, 2)]
    assert len({job.id for job in jobs}) == len(jobs)
    assert {ids.event_of(job.delivery) for job in jobs} == {record.id}


@pytest.mark.parametrize("headers", [{}, {"webhook-id": "msg_1"}], ids=["body", "webhook-id"])
def test_accounts_do_not_share_ids(headers: dict[str, str]) -> None:
    """The same request is another event in each account, and keeps its id through export and import."""
    received = [
        Record.capture(body_of(1), received_at_ms=RECEIVED_AT_MS, headers=headers, account=account)
        for account in ("", "acme", "globex")
    ]
    assert len({record.id for record in received}) == 3
    assert [Record.from_line(record.to_line(), now_ms=NOW_MS).id for record in received] == [
        record.id for record in received
    ]


def test_the_nameless_account_keeps_the_ids_of_before() -> None:
    """An installation with one account recognises what it has received before an upgrade."""
    record = Record.capture(b'{"event": "a.b", "data": {"x": 1}}', received_at_ms=RECEIVED_AT_MS)
    signed = Record.capture(b'{"event": "a.b"}', received_at_ms=RECEIVED_AT_MS, headers={"webhook-id": "msg_1"})
    assert (record.id, signed.id) == ("evt_vfdx4zzahmpbqamwv257q7hart", "evt_yuuvbovrktkt2yihwlccvemabb")
