"""The receiver's log: what came of each request, and nothing that came in it, at every level."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
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
from tests.support.events import body_of
from tests.support.http import TOKEN, RunningReceiver, chunked, http_request

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
    for why in ("accepted", "a wrong token", "a wrong method"):
        await signed.send(REQUESTS[why])
    requests = [line for line in lines(capsys.readouterr().err) if line["event"] == "request.answered"]
    assert [(line["level"], line["method"], line["path"], line["status"]) for line in requests] == [
        ("debug", "POST", "/hooks/konvox/***", 200),
        ("info", "POST", "/hooks/konvox/***", 404),
        ("info", "PUT", "/hooks/konvox/***", 404),
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
    assert [(line["event"], line["level"], line["reason"]) for line in logged] == [(event, "warning", reason)] * 2


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
