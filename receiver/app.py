"""The public listener: an aiohttp application around the gate and the admission. Started by the console.

It answers `POST /hooks/konvox/{token}`, `POST /hooks/konvox` and `GET /healthz`; everything else is one and the same
404.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from broker.admission import GroupCommit
from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver.answers import json_answer, ok_answer
from receiver.challenge import CHALLENGE_HEADER, answer_challenge
from receiver.errors import RefusedError, not_found
from receiver.gate import Gate, Gatehouse, check_body, masked_path
from receiver.shortcut import ShortcutRunner

RETRY_AFTER_SECONDS = 5
"""What a 503 asks of the sender. Konvox keeps to its own backoff; others may listen."""

BODY_SECONDS = 7.0
"""How long a body may take. One whose chunks break half-way would otherwise be waited for until the sender gives up."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away: a sender that is still sending would miss the answer."""

TALLY_SECONDS = 1.0
"""How often the log says how many events came in. A line for each would cost more than its event."""

logger = structlog.get_logger("receiver")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Tally:
    """How many requests ended how, since the start."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    unavailable: int = 0


TALLY = web.AppKey("tally", Tally)


class Receiver:
    """Takes requests to the gates, and events to the broker."""

    def __init__(self, gatehouse: Gatehouse, admission: GroupCommit, tally: Tally) -> None:
        self._gatehouse = gatehouse
        self._admission = admission
        self._tally = tally

    async def answer_routed(self, request: web.Request) -> web.StreamResponse:
        """Answer a delivery that came by the router."""
        return await self.answer(request, request.match_info.get("token"))

    async def answer(self, request: web.BaseRequest, token: str | None) -> web.StreamResponse:
        """Answer one delivery, whatever is the matter with it or with the broker."""
        try:
            return await self._receive(request, token)
        except RefusedError as refused:
            self._tally.refused += 1
            return json_answer(refused.status, {"error": refused.reason})
        except BrokerUnavailableError as outage:
            self._tally.unavailable += 1
            logger.warning("receiver.unavailable", reason=outage.reason)
            return json_answer(503, {"error": "not stored, try again"}, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    async def _receive(self, request: web.BaseRequest, token: str | None) -> web.StreamResponse:
        """Answer 200 once the event is durable."""
        if CHALLENGE_HEADER in request.headers and (answer := self._answer_challenge(request)):
            return json_answer(200, {"challenge": answer})
        candidates = self._gatehouse.candidates(token)
        candidates[0].check_headers(request.headers)
        body = await self._read_body(request, candidates[0])
        received_at_ms = time.time_ns() // 1_000_000
        gate = check_body(candidates, body, request.headers, received_at_ms=received_at_ms)
        record = gate.read_event(body, request.headers, received_at_ms=received_at_ms)
        accepted = await self._admission.admit(Job.first(record))
        if accepted:
            self._tally.accepted += 1
        else:
            self._tally.duplicates += 1
        return ok_answer(request, {"status": "accepted" if accepted else "duplicate", "id": record.id})

    def _answer_challenge(self, request: web.BaseRequest) -> str | None:
        gates = self._gatehouse.gates
        return answer_challenge(
            request.headers[CHALLENGE_HEADER],
            tokens=[token for gate in gates for token in gate.tokens],
            signing_secrets=[secret for gate in gates if gate.scheme != "off" for secret in gate.signing_secrets],
        )

    async def _read_body(self, request: web.BaseRequest, gate: Gate) -> bytes:
        try:
            if request.content.is_eof():
                return request.content.read_nowait()  # mostly all of it has come with the headers
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise gate.too_large() from None
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time") from None
        except (ConnectionError, web.RequestPayloadError):
            raise RefusedError(400, "the body did not arrive whole") from None


RECEIVER = web.AppKey("receiver", Receiver)


def create_app(gates: Sequence[Gate], admission: GroupCommit) -> web.Application:
    """The application of the public listener; `gates` are those of its endpoints, at least one."""
    gatehouse = Gatehouse(gates)
    # One byte more than the limit, so that it is the gate that finds a body too large.
    app = web.Application(client_max_size=gatehouse.max_body_bytes + 1, middlewares=[_answer_in_json])
    tally = app[TALLY] = Tally()
    receiver = app[RECEIVER] = Receiver(gatehouse, admission, tally)
    app.router.add_post("/hooks/konvox/{token}", receiver.answer_routed)
    app.router.add_post("/hooks/konvox", receiver.answer_routed)
    app.router.add_get("/healthz", _healthz)
    app.cleanup_ctx.append(_log_tally)
    return app


def create_runner(app: web.Application, *, stop_seconds: float) -> web.AppRunner:
    """A runner for the application, with what a public listener needs.

    Bodies reach us as they were sent: `auto_decompress=False`, because a signature is over the raw bytes.
    """
    return ShortcutRunner(
        app,
        app[RECEIVER].answer,
        auto_decompress=False,
        lingering_time=LINGER_SECONDS,
        logger=ProtocolLog(),
        access_log_class=AccessLog,
        access_log=structlog.get_logger("receiver"),
        shutdown_timeout=stop_seconds,
    )


class AccessLog(AbstractAccessLogger):
    """One line a request, without token, query, headers or body. Answers of 200 are told at `debug` only."""

    def __init__(self, access_log: logging.Logger, log_format: str) -> None:
        super().__init__(access_log, log_format)
        self._tells_all = logger.is_enabled_for(logging.DEBUG)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; called by aiohttp after each answer. `time` is in seconds."""
        if response.status < 400 and not self._tells_all:
            return
        tell = logger.debug if response.status < 400 else logger.info
        tell(
            "http.request",
            method=request.method,
            path=masked_path(request.path),
            status=response.status,
            duration_ms=round(time * 1000, 2),
            remote=request.remote,
        )


class ProtocolLog:
    """What aiohttp tells about connections, without the texts of its errors: those quote the request as it came."""

    def debug(self, _message: str, *_args: object, **_kwargs: object) -> None:
        """Leave out what is of use only to whoever works on aiohttp."""

    def exception(self, _message: str, *_args: object, exc_info: BaseException | None = None) -> None:
        """Tell that a request could not be read, or that there is a fault of our own."""
        if isinstance(exc_info, HttpProcessingError):
            logger.info("http.malformed", error=type(exc_info).__name__)
        else:
            logger.error("http.failed", exc_info=exc_info)


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        unknown = not_found()
        return json_answer(unknown.status, {"error": unknown.reason})


async def _healthz(_: web.Request) -> web.Response:
    return json_answer(200, {"status": "ok"})


async def _log_tally(app: web.Application) -> AsyncIterator[None]:
    async def tell_every_second() -> None:
        told = Tally()
        while True:
            await asyncio.sleep(TALLY_SECONDS)
            now = app[TALLY]
            if (now.accepted, now.duplicates) != (told.accepted, told.duplicates):
                logger.info(
                    "events.received",
                    accepted=now.accepted - told.accepted,
                    duplicates=now.duplicates - told.duplicates,
                )
                told = Tally(now.accepted, now.duplicates)

    task = asyncio.create_task(tell_every_second())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
