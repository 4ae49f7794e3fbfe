"""The receiver's log: what came of each request, and nothing that came in it, at every level."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

import orjson
import pytest
import structlog

from broker.errors import BrokerUnavailableError
from broker.records import Job
from konvox.signatures import sign_hmac_sha256
from konvox_hooks.process.logging import configure_logging
from receiver import access_log, listener
from receiver.errors import OverloadedError
from receiver.group_commit import GroupCommit, OnResult
from receiver.peers import parse_network
from receiver.verification import AccountPolicy
from tests.support.events import body_of
from tests.support.http import TOKEN, RunningReceiver, chunked, http_request, read_answer, receiving
from tests.support.store import RedisClient

Start = Callable[..., Awaitable[RunningReceiver]]

SECRET, HEADER = "the-signing-secret", "X-Konvox-Signature"
HOOK = f"/hooks/konvox/{TOKEN}"
BODY = body_of(1, subject="a-secret-of-the-body")
GOOD = sign_hmac_sha256(BODY, secret=SECRET)
SECRETS = (TOKEN, SECRET, GOOD.removeprefix("sha256=")[:40], "s3cret", "a-secret-of-the-body", "clcontact00001")

REQUESTS = {
    "accepted": http_request(HOOK, BODY, headers=[(HEADER, GOOD)]),
    "a secret in the query": http_request(HOOK + "?key=s3cret", BODY, headers=[(HEADER, GOOD)]),
    "secrets in other headers": http_request(
        HOOK,
        BODY,
        headers=[(HEADER, GOOD), ("Authorization", "Bearer s3cret"), ("Cookie", "s3cret"), ("Referer", HOOK)],
    ),
    "a wrong signature": http_request(HOOK, BODY, headers=[(HEADER, GOOD[::-1])]),
    "a wrong token": http_request("/hooks/konvox/s3cret-guess", BODY),
    "a token in a wrong place": http_request(f"/{TOKEN}/konvox", BODY),
    "a token, escaped": http_request(f"/hooks/konvox%2F{TOKEN}", BODY),
    "a wrong method": http_request(HOOK, BODY, method="PUT"),
    "no JSON": http_request(HOOK, b"a-secret-of-the-body", headers=[(HEADER, GOOD)]),
    "a signature with a zero byte": http_request(HOOK, BODY, headers=[(HEADER, GOOD + "\0")]),
    "a signature without a name": http_request(HOOK, BODY).replace(b"Content-Type", GOOD.encode() + b" "),
    "a signature of 10,000 bytes": http_request(HOOK, BODY, headers=[(HEADER, GOOD * 150)]),
    "a path of 10,000 bytes": http_request(HOOK * 250, BODY),
    "a token in another version": http_request(HOOK, BODY).replace(b"HTTP/1.1", b"HTTP/9.9"),
    "a token behind a bad method": http_request(HOOK, BODY, method="PO\0ST"),
    "bare line feeds": http_request(HOOK, BODY, headers=[(HEADER, GOOD)]).replace(b"\r\n", b"\n"),
    "a broken chunk": http_request(HOOK, b"zz\r\n" + BODY, headers=[("Transfer-Encoding", "chunked")]),
}


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test configures; and give it a logger that is new, since structlog keeps a used one as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for module in (access_log, listener):
        monkeypatch.setattr(module, "logger", structlog.get_logger("receiver"))
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def signed(start: Start) -> RunningReceiver:
    """A receiver that asks for a token and a signature."""
    return await start(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET])


def lines(text: str) -> list[dict[str, Any]]:
    """The entries of a log."""
    return [orjson.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_no_secret_is_logged(
    signed: RunningReceiver, capsys: pytest.CaptureFixture[str], level: str, log_format: Literal["json", "console"]
) -> None:
    """The log holds no token, secret or signature and nothing of a body, whatever the request is."""
    configure_logging(level, log_format)
    for request in REQUESTS.values():
        await signed.send(request)
    captured = capsys.readouterr()
    for secret in SECRETS:
        assert secret not in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert ("request.answered" in captured.err) is (level in {"debug", "info"})


async def test_each_request_has_its_line(signed: RunningReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """A line has method, masked path, status, time and sender; a request that succeeds has one at debug only."""
    configure_logging("debug", "json")
    for why in ("accepted", "a wrong token", "a wrong signature"):
        await signed.send(REQUESTS[why])
    requests = [line for line in lines(capsys.readouterr().err) if line["event"] == "request.answered"]
    assert [(line["level"], line["method"], line["path"], line["status"]) for line in requests] == [
        ("debug", "POST", "/hooks/konvox/***", 200),
        ("info", "POST", "/hooks/konvox/***", 404),
        ("info", "POST", "/hooks/konvox/***", 401),
    ]
    assert all(line["remote"] == "127.0.0.1" and line["duration_ms"] >= 0 for line in requests)


async def test_bad_http_is_logged_by_its_kind(signed: RunningReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad HTTP is logged at info with the kind of its fault, because it is no fault of ours."""
    configure_logging("info", "json")
    await signed.send(REQUESTS["a signature with a zero byte"])
    logged = [line for line in lines(capsys.readouterr().err) if line["event"] == "request.malformed"]
    assert [(line["level"], line["error"]) for line in logged] == [("info", "BadHttpMessage")]


async def test_a_fault_of_our_own_is_logged_with_its_traceback(
    signed: RunningReceiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own is a 500, and an error in the log with its traceback but without secrets."""

    def broken(*_: object) -> None:
        """Fail as no outage does."""
        raise RuntimeError("a fault of our own")

    monkeypatch.setattr(GroupCommit, "submit", broken)
    configure_logging("info", "json")
    assert (await signed.send(REQUESTS["accepted"])).status == 500
    err = capsys.readouterr().err
    [fault] = [line for line in lines(err) if line["event"] == "request.failed"]
    assert fault["level"] == "error"
    assert fault["exception"].startswith("Traceback")
    assert "RuntimeError: a fault of our own" in fault["exception"]
    assert not any(secret in err for secret in SECRETS)


@pytest.mark.parametrize(
    ("error", "event", "reason"),
    [
        (BrokerUnavailableError("gone"), "event.not_stored", "gone"),
        (OverloadedError("too much"), "request.shed", "too much"),
    ],
)
async def test_an_outage_and_an_overload_are_logged_apart(
    start: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    event: str,
    reason: str,
) -> None:
    """An outage and an overload each have a log event with a reason, on both ways through the listener."""

    def fail(_self: GroupCommit, _job: Job, on_result: OnResult) -> None:
        """Answer with the error."""
        asyncio.get_running_loop().call_soon(on_result, error)

    monkeypatch.setattr(GroupCommit, "submit", fail)
    configure_logging("info", "json")
    receiver = await start(tokens=[TOKEN])
    in_chunks = http_request(HOOK, chunked(BODY), headers=[("Transfer-Encoding", "chunked")])
    for request in (http_request(HOOK, BODY), in_chunks):
        assert (await receiver.send(request)).status == 503
    logged = [line for line in lines(capsys.readouterr().err) if line["event"] in {"event.not_stored", "request.shed"}]
    # What a stranger may bring about is summed up; an outage is not a stranger's doing.
    lines_of_both = 1 if event == "request.shed" else 2
    assert [(line["event"], line["level"], line["reason"]) for line in logged] == [
        (event, "warning", reason)
    ] * lines_of_both


async def test_refusals_are_summed_up(
    server: RedisClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each reason the first refusal in a second has a line, and the others are counted in one, on both ways."""
    monkeypatch.setattr(listener, "COUNTS_SECONDS", 3600.0)  # the sum comes at the stop
    configure_logging("info", "json")
    policy = AccountPolicy(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET])
    async with receiving(policy, server) as receiver:
        for why in ("a wrong token", "a wrong signature", "a signature with a zero byte", "a broken chunk"):
            for _ in range(20):
                await receiver.send(REQUESTS[why])
    logged = lines(capsys.readouterr().err)
    firsts = [line["event"] for line in logged if line["event"] in {"request.answered", "request.malformed"}]
    sums = {(line["event"], line["status"]): line["count"] for line in logged if "count" in line}
    assert firsts.count("request.answered") <= 5
    assert firsts.count("request.malformed") <= 2
    assert sums["requests.refused", 404] == 19
    assert sums["requests.refused", 401] >= 19
    assert sums["requests.malformed", 400] >= 19
    assert not any("exception" in line for line in logged)


@pytest.mark.parametrize("why", ["a broken chunk", "a wrong signature", "a wrong token", "a wrong method"])
@pytest.mark.parametrize("rest", [b"", b"zz\r\n", b"1;" + b"e" * 20_000 + b"\r\n"], ids=["none", "bad", "fat"])
async def test_no_strangers_request_makes_a_traceback(
    signed: RunningReceiver, capsys: pytest.CaptureFixture[str], why: str, rest: bytes
) -> None:
    """A refused body that breaks, or goes on for ever, is no fault of ours."""
    configure_logging("debug", "json")
    head, _, _ = REQUESTS[why].partition(b"\r\n\r\n")
    chunks = head.replace(b"Content-Length", b"X-Length").replace(b"Transfer-Encoding: chunked\r\n", b"")
    request = chunks + b"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", signed.port)
    writer.write(request)
    if why in {"a wrong token", "a wrong method"}:
        await read_answer(reader)
    writer.write(rest)
    writer.write_eof()
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "request.failed" not in err


async def test_the_log_says_how_many_events_came(
    signed: RunningReceiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    """The log has one line for all events of a second, rather than one for each."""
    monkeypatch.setattr(listener, "COUNTS_SECONDS", 0.01)
    configure_logging("info", "json")
    receiver = await start(tokens=[TOKEN])
    for number in (1, 2, 1):
        await receiver.deliver(body_of(number))
    logged: list[dict[str, Any]] = []
    while sum(line["accepted"] + line["duplicates"] for line in logged) < 3:
        await receiver.send(http_request("/healthz", method="GET"))
        logged += [line for line in lines(capsys.readouterr().err) if line["event"] == "events.received"]
    assert sum(line["accepted"] for line in logged) == 2
    assert sum(line["duplicates"] for line in logged) == 1


@pytest.mark.parametrize("way", ["plain", "aiohttp's"])
@pytest.mark.parametrize(("proxies", "remote"), [(["127.0.0.0/8"], "1.2.3.4"), ([], "127.0.0.1")])
async def test_the_peer_is_whom_a_trusted_proxy_names(
    server: RedisClient, capsys: pytest.CaptureFixture[str], way: str, proxies: list[str], remote: str
) -> None:
    """The log names the sender behind a trusted proxy, and believes nobody else."""
    configure_logging("debug", "json")
    networks = [parse_network(text) for text in proxies]
    async with receiving(AccountPolicy(tokens=[TOKEN]), server, trusted_proxies=networks) as receiver:
        path = HOOK if way == "plain" else "/hooks/konvox/guessed"
        await receiver.send(http_request(path, BODY, headers=[("X-Forwarded-For", "6.6.6.6, 1.2.3.4")]))
    [line] = [line for line in lines(capsys.readouterr().err) if line["event"] == "request.answered"]
    assert line["remote"] == remote


@pytest.mark.parametrize("name", ["Expect", "Upgrade", "Connection", "X-Forwarded-For", "Content-Encoding", "Cookie"])
@pytest.mark.parametrize("path", [HOOK, "/hooks/konvox/guessed", "/healthz", "/nowhere"])
async def test_no_header_makes_a_traceback(
    signed: RunningReceiver, capsys: pytest.CaptureFixture[str], name: str, path: str
) -> None:
    """A header that is no UTF-8, or asks for what we do not do, is the sender's fault, and is never a 500."""
    configure_logging("info", "json")
    for value in (b"\xff\xfe", b"+100-continue", b"websocket"):
        answer = await signed.send(http_request(path, BODY, headers=[(name, value)]))
        assert 400 <= answer.status < 500
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "request.failed" not in err
