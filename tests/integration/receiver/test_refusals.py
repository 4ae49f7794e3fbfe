"""What operators see of refusals and duplicates: a refused delivery of Konvox is a warning with its reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest
import structlog

from konvox.signatures import sign_hmac_sha256
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.service.admin import _metric_lines
from receiver import access_log, refusals
from receiver.refusals import REASONS
from tests.support.events import body_of
from tests.support.http import TOKEN, RunningReceiver, chunked, http_request

Start = Callable[..., Awaitable[RunningReceiver]]

SECRET, HEADER = "the-signing-secret", "X-Konvox-Signature"
HOOK = f"/hooks/konvox/{TOKEN}"
BODY = body_of(1)
JSON = ("Content-Type", "application/json")


def signed(body: bytes) -> tuple[str, str]:
    """The header with a good signature of this body."""
    return HEADER, sign_hmac_sha256(body, secret=SECRET)


REFUSED = {
    "bad_signature": http_request(HOOK, BODY, headers=[JSON, (HEADER, "sha256=00")]),
    "not_an_event": http_request(HOOK, b"{}", headers=[JSON, signed(b"{}")]),
    "other_company": http_request(HOOK, BODY, headers=[JSON, signed(BODY)]),
    "not_json": http_request(HOOK, BODY, headers=[("Content-Type", "text/plain"), signed(BODY)]),
    "compressed": http_request(HOOK, BODY, headers=[JSON, signed(BODY), ("Content-Encoding", "gzip")]),
    "too_large": http_request(HOOK, b"x" * 2000, headers=[JSON]),
}
STRANGERS = [
    http_request("/hooks/konvox/another-token", BODY),
    http_request("/hooks/konvox", BODY, headers=[JSON, (HEADER, "sha256=00")]),
    http_request("/elsewhere", BODY),
]


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test configures, and give it new loggers, because structlog keeps a used one as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for module in (access_log, refusals):
        monkeypatch.setattr(module, "logger", structlog.get_logger("receiver"))
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """The log's lines with this name."""
    return [line for line in map(orjson.loads, capsys.readouterr().err.splitlines()) if line["event"] == event]


@pytest.fixture
async def strict(start: Start) -> RunningReceiver:
    """A receiver that asks for everything it can ask for."""
    return await start(
        tokens=[TOKEN],
        scheme="hmac-sha256",
        signing_secrets=[SECRET],
        company_ids=frozenset({"another-company"}),
        max_body_bytes=1000,
    )


@pytest.mark.parametrize("reason", REFUSED)
async def test_a_refused_delivery_is_a_warning_and_is_counted(
    strict: RunningReceiver, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    """A refused delivery with a good token is logged as a warning with its reason, and counted by it."""
    configure_logging("warning", "json")
    answer = await strict.send(REFUSED[reason])
    [line] = logged(capsys, "delivery.refused")
    assert (line["level"], line["reason"], line["status"]) == ("warning", reason, answer.status)
    assert line["detail"] == orjson.loads(answer.body)["error"]
    assert strict.counters.refused_by_reason == {reason: 1}
    assert strict.counters.refused == 1
    assert reason in REASONS


async def test_strangers_cause_no_warning(strict: RunningReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """A request with neither a good token nor a good signature is counted, and is no warning."""
    configure_logging("warning", "json")
    for request in STRANGERS:
        assert (await strict.send(request)).status in {401, 404}
    assert capsys.readouterr().err == ""
    assert set(strict.counters.refused_by_reason) <= set(REASONS)


async def test_a_good_signature_is_as_good_as_a_token(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Where signatures take the place of tokens, what is refused although its signature is good is a warning too."""
    receiver = await start(scheme="hmac-sha256", signing_secrets=[SECRET])
    configure_logging("warning", "json")
    await receiver.deliver(b"{}", token=None, headers=[signed(b"{}")])
    await receiver.deliver(BODY, token=None, headers=[(HEADER, "sha256=00")])
    assert [line["reason"] for line in logged(capsys, "delivery.refused")] == ["not_an_event"]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_duplicate_is_logged_with_its_id(
    receiver: RunningReceiver, capsys: pytest.CaptureFixture[str], plain: bool
) -> None:
    """A duplicate is logged with the event's id at info, whichever way through the listener it takes."""
    configure_logging("info", "json")
    in_chunks = http_request(HOOK, chunked(BODY), headers=[JSON, ("Transfer-Encoding", "chunked")])
    for _ in range(2):
        answer = await receiver.send(http_request(HOOK, BODY) if plain else in_chunks)
    assert orjson.loads(answer.body)["status"] == "duplicate"
    [line] = logged(capsys, "duplicate.recognised")
    assert line["level"] == "info"
    assert line["event_id"].startswith("evt_")


async def test_what_breaks_off_is_counted_by_its_reason(receiver: RunningReceiver) -> None:
    """A connection that is lost half-way through a request counts as one reason, and what is no HTTP as another."""
    _, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(http_request(HOOK, BODY)[:-5])
    await writer.drain()
    writer.close()
    assert (await receiver.send(b"nonsense\r\n\r\n")).status == 400
    async with asyncio.timeout(10):
        while receiver.counters.refused < 2:  # noqa: ASYNC110 - counters do not say when they change
            await asyncio.sleep(0.01)
    assert receiver.counters.refused_by_reason == {"broken_off": 1, "malformed_request": 1}


def test_metrics_with_a_label_have_one_type() -> None:
    """Metrics that differ by their labels follow each other below one line with their type."""
    text = "".join(_metric_lines({"a_total": 1, 'b_total{reason="x"}': 2, 'b_total{reason="y"}': 3, "c": 4}))
    assert text.splitlines() == [
        "# TYPE a_total counter",
        "a_total 1",
        "# TYPE b_total counter",
        'b_total{reason="x"} 2',
        'b_total{reason="y"} 3',
        "# TYPE c gauge",
        "c 4",
    ]
