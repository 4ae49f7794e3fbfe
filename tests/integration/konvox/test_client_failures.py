"""Tests of failures: which error they become, which calls are retried, and that the key is never shown."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from types import TracebackType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from structlog.testing import capture_logs

from konvox.client import CallRetries, KonvoxClient
from konvox.errors import (
    AnswerDoesNotFitError,
    ApiConnectionError,
    ApiTimeoutError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InternalServerError,
    KonvoxApiError,
    NotAnEnvelopeError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from tests.integration.konvox.scripted_konvox import KEY, Invocation, Reply, envelope, failure, json_reply, scripted

CAMPAIGN = {"id": "clc1", "name": "Spring"}


async def get(client: KonvoxClient) -> Any:
    """A call that reads."""
    return await client.campaigns.get("clc1")


async def create(client: KonvoxClient) -> Any:
    """A call that must not take effect twice."""
    return await client.campaigns.create(name="Spring", channel="linkedin")


async def update(client: KonvoxClient) -> Any:
    """A call that may take effect twice."""
    return await client.campaigns.update("clc1", status="paused")


async def delete(client: KonvoxClient) -> Any:
    """A call whose repetition finds nothing."""
    return await client.campaigns.delete("clc1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, RateLimitedError),
        (500, InternalServerError),
        (502, UnexpectedStatusError),
        (418, UnexpectedStatusError),
        (307, UnexpectedStatusError),
    ],
)
@pytest.mark.parametrize("words", [True, False], ids=["envelope", "not an envelope"])
async def test_each_status_is_an_error_of_its_own(status: int, kind: type[KonvoxApiError], *, words: bool) -> None:
    """Each status has an error of its own, with Konvox's message if there is one, and with ours otherwise."""
    reply = failure(status, "that is why") if words else Reply(status, b"<h1>oops</h1>")
    async with scripted(reply) as konvox, konvox.client(retry=CallRetries(attempts=1)) as client:
        with pytest.raises(KonvoxApiError) as raised:
            await get(client)
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.method, error.path) == (status, "GET", "/api/campaigns/clc1")
    assert (error.message == "that is why") is words
    assert str(error) == f"GET /api/campaigns/clc1: status {status}: {error.message}"
    assert error.message
    assert "oops" not in str(error)


async def test_a_redirect_is_not_followed() -> None:
    """A redirect is not followed, because it would pass the key on."""
    async with scripted(Reply(status=302, headers={"Location": "/elsewhere"})) as konvox, konvox.client() as client:
        with pytest.raises(UnexpectedStatusError, match="redirect"):
            await get(client)
    assert konvox.calls == [("GET", "/api/campaigns/clc1")]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(body=b"<html>a single-page app</html>"), NotAnEnvelopeError),
        (Reply(), NotAnEnvelopeError),
        (json_reply([]), NotAnEnvelopeError),
        (json_reply({"id": "clc1"}), NotAnEnvelopeError),
        (json_reply({"data": None, "error": "odd"}), AnswerDoesNotFitError),
        (json_reply({"data": None, "error": None}), AnswerDoesNotFitError),
        (json_reply({"data": {"name": "no id"}, "error": None}), AnswerDoesNotFitError),
        (json_reply({"data": [CAMPAIGN], "error": None}), AnswerDoesNotFitError),
        (Reply(status=204), AnswerDoesNotFitError),
    ],
)
async def test_a_success_that_cannot_be_read(reply: Reply, kind: type[KonvoxApiError]) -> None:
    """A body that is no envelope, or that holds something else, is an error without a retry."""
    async with scripted(reply) as konvox, konvox.client() as client:
        with pytest.raises(KonvoxApiError) as raised:
            await get(client)
    assert type(raised.value) is kind
    assert len(konvox.asked) == 1


@pytest.mark.parametrize("data", [CAMPAIGN, None, "text"])
async def test_a_list_that_is_none(data: Any) -> None:
    """A list call whose answer is no list is an error that says so."""
    async with scripted(envelope(data)) as konvox, konvox.client() as client:
        with pytest.raises(AnswerDoesNotFitError):
            await client.campaigns.list_page()


async def test_a_value_unknown_to_us_is_read() -> None:
    """A new status, a new channel and a new field are read without an error."""
    fields = CAMPAIGN | {"status": "archived", "channel": "fax", "team": {"id": "t1"}}
    async with scripted(envelope(fields)) as konvox, konvox.client() as client:
        campaign = await get(client)
    assert (campaign.status, campaign.channel, campaign.team) == ("archived", "fax", {"id": "t1"})


@pytest.mark.parametrize(
    "reply",
    [
        envelope({"success": True}),
        Reply(status=204),
        json_reply({"success": True}),
        envelope(None),
    ],
)
async def test_a_delete_is_done_however_it_is_reported(reply: Reply) -> None:
    """A delete succeeds with and without an envelope around `success`, because the documentation leaves it open."""
    async with scripted(reply) as konvox, konvox.client() as client:
        assert await delete(client) is None


async def test_a_delete_that_did_not_succeed() -> None:
    """A delete with `success: false` is an error."""
    async with scripted(envelope({"success": False})) as konvox, konvox.client() as client:
        with pytest.raises(AnswerDoesNotFitError, match="not deleted"):
            await delete(client)


@pytest.mark.parametrize("trouble", ["drop", "hang", 500, 502, 503, 504, 429])
@pytest.mark.parametrize("invoke", [get, update, delete])
async def test_what_is_safe_is_repeated(invoke: Invocation, trouble: str | int) -> None:
    """Reads, updates and deletes are retried after temporary failures, with waits that double."""
    failures = [trouble if isinstance(trouble, str) else failure(trouble) for _ in range(2)]
    timeout_seconds = 0.5 if trouble == "hang" else 10
    async with (
        scripted(*failures, envelope(CAMPAIGN)) as konvox,
        konvox.client(timeout_seconds=timeout_seconds) as client,
    ):
        await invoke(client)
    assert konvox.waits_seconds == [1.0, 2.0]


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [("drop", ApiConnectionError), ("hang", ApiTimeoutError), (500, InternalServerError), (503, UnexpectedStatusError)],
)
async def test_a_create_that_may_have_happened_is_not_repeated(trouble: str | int, kind: type[KonvoxApiError]) -> None:
    """A create that may have taken effect is not retried, because two campaigns are worse than an error."""
    reply = trouble if isinstance(trouble, str) else failure(trouble)
    timeout_seconds = 1 if trouble == "hang" else 10
    async with scripted(reply) as konvox, konvox.client(timeout_seconds=timeout_seconds) as client:
        with pytest.raises(kind):
            await create(client)
    assert len(konvox.asked) == 1


async def test_a_create_that_was_turned_away_is_repeated() -> None:
    """A create that got a 429 had no effect, and is retried when the server says."""
    later = failure(429, headers={"Retry-After": "7"})
    async with scripted(later, envelope(CAMPAIGN, status=201)) as konvox, konvox.client() as client:
        assert (await create(client)).id == "clc1"
    assert konvox.waits_seconds == [7.0]


async def test_a_create_that_found_nobody_is_repeated() -> None:
    """A create whose connection was refused was not sent; it is retried, and succeeds once Konvox is back."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused

        async def handle(_request: web.Request) -> web.Response:
            """Answer with the created campaign."""
            return web.json_response({"data": CAMPAIGN, "error": None}, status=201)

        app = web.Application()
        app.router.add_post("/api/campaigns", handle)
        runner = web.AppRunner(app)
        await runner.setup()

        async def konvox_comes_back(_seconds: float) -> None:
            """Start to listen."""
            await web.SockSite(runner, listener).start()

        retry = CallRetries(attempts=2, sleep=konvox_comes_back)
        try:
            async with KonvoxClient(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY, retry=retry) as client:
                assert (await create(client)).id == "clc1"
        finally:
            await runner.cleanup()


async def test_nobody_there() -> None:
    """If nobody answers, the error after the last attempt names the address, and says that nothing was sent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with KonvoxClient(url, KEY, retry=CallRetries(attempts=1)) as client:
            with pytest.raises(ApiConnectionError, match="cannot connect") as raised:
                await get(client)
    assert url in str(raised.value)
    assert raised.value.maybe_sent is False


async def test_retry_after_is_heeded_up_to_the_cap_and_kept() -> None:
    """`Retry-After` sets the wait up to the cap, and the error carries it."""
    later, much_later = (failure(503, headers={"Retry-After": "4"}), failure(429, headers={"Retry-After": "900"}))
    async with scripted(later, much_later, much_later) as konvox, konvox.client() as client:
        with pytest.raises(RateLimitedError) as raised:
            await get(client)
    assert konvox.waits_seconds == [4.0, 30.0]
    assert raised.value.retry_after_seconds == 900.0


async def test_retries_are_reported() -> None:
    """The log of a retry names the call, the attempt and the wait."""
    async with scripted(failure(500), envelope(CAMPAIGN)) as konvox, konvox.client() as client:
        with capture_logs() as logs:
            await get(client)
    (log,) = logs
    assert (log["event"], log["attempt"], log["wait_seconds"]) == ("api_call.retried", 1, 1.0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 302])
async def test_what_will_not_get_better_is_not_repeated(status: int) -> None:
    """A refusal that cannot change is not retried."""
    async with scripted(failure(status)) as konvox, konvox.client() as client:
        with pytest.raises(KonvoxApiError):
            await get(client)
    assert len(konvox.asked) == 1


@pytest.mark.parametrize("trouble", ["drop", 500])
async def test_not_found_after_a_lost_answer_means_deleted(trouble: str | int) -> None:
    """A 404 after a lost answer means that the first attempt deleted the record: the delete succeeds."""
    first = trouble if isinstance(trouble, str) else failure(trouble)
    async with scripted(first, failure(404)) as konvox, konvox.client() as client:
        await delete(client)
    assert len(konvox.asked) == 2


async def test_not_found_after_a_refusal_means_not_found() -> None:
    """A 404 after a 429 means that there was no record: the delete fails."""
    async with scripted(failure(429), failure(404)) as konvox, konvox.client() as client:
        with pytest.raises(NotFoundError):
            await delete(client)


class HangingResolver(AbstractResolver):
    """A name server that never answers."""

    async def resolve(self, *_args: Any, **_options: Any) -> Any:
        """Wait for ever."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Do nothing."""


async def test_no_connection_in_time_means_that_nothing_was_sent() -> None:
    """A timeout while connecting, unlike one while waiting for the answer, means that a create is retried."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        """Record the wait instead of waiting."""
        waits.append(seconds)

    connector = aiohttp.TCPConnector(resolver=HangingResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        retry = CallRetries(attempts=2, sleep=note)
        client = KonvoxClient("http://konvox.example", KEY, session=session, timeout_seconds=0.05, retry=retry)
        with pytest.raises(ApiConnectionError, match="cannot connect") as raised:
            await create(client)
    assert raised.value.maybe_sent is False
    assert len(waits) == 1


def _local_variables(trace: TracebackType | None) -> str:
    """The local variables of our frames, which a traceback might show."""
    frames = [frame for frame, _ in traceback.walk_tb(trace) if "/tests/" not in frame.f_code.co_filename]
    assert frames
    return " ".join(repr(value) for frame in frames for value in frame.f_locals.values())


@pytest.mark.parametrize("auth", ["bearer", "x-api-key"])
@pytest.mark.parametrize(
    "reply",
    [
        failure(401, f"the key {KEY} is not valid"),
        envelope({KEY: KEY, "name": {KEY: KEY}}),
        Reply(body=KEY.encode()),
        Reply(status=302, headers={"Location": f"https://elsewhere.example/{KEY}"}),
        "drop",
        "hang",
    ],
)
async def test_the_key_shows_nowhere(
    reply: Reply | str, auth: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is in no repr, message, chain, traceback variable or log, even if the server repeats it."""
    caplog.set_level(logging.DEBUG)
    async with scripted(reply, reply if isinstance(reply, str) else failure(500)) as konvox:
        retry = konvox.retry(attempts=2)
        async with konvox.client(auth=auth, timeout_seconds=0.2, retry=retry) as client:
            with capture_logs() as logs, pytest.raises(KonvoxApiError) as raised:
                await get(client)
            shown = [repr(client), repr(vars(client)), repr(client._transport.access)]
    error = raised.value
    shown += [str(error), repr(error), repr(vars(error)), _local_variables(error.__traceback__)]
    shown += ["".join(traceback.format_exception(error)), repr(logs), caplog.text, *capsys.readouterr()]
    assert KEY not in " ".join(shown)
    assert (error.__cause__, error.__context__) == (None, None)
