"""The public listener's aiohttp application: whatever is no plain delivery, and every refusal.

Made by `receiver.listener`. It answers `POST /hooks/konvox/{token}`, `POST /hooks/konvox` and `GET /healthz`;
everything else is one and the same 404.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from broker.errors import BrokerUnavailableError
from receiver.access_log import logger
from receiver.challenge import CHALLENGE_HEADER
from receiver.errors import OverloadedError, RefusedError, not_found
from receiver.group_commit import GroupCommit
from receiver.reception import Verifier
from receiver.responses import NOT_STORED, RETRY_AFTER, json_answer
from receiver.verification import AccountPolicy

BODY_SECONDS = 7.0
"""How long a body may take. One whose chunks break half-way would otherwise be waited for until the sender gives up."""

MOST_BODIES = 64
"""How many bodies are read at a time: here come the large ones, and all of them are held in memory."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebhookView:
    """Takes requests to the reception, and events to the broker."""

    def __init__(self, reception: Verifier, admission: GroupCommit) -> None:
        self._reception = reception
        self._admission = admission
        self._bodies = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one delivery, whatever is the matter with it or with the broker."""
        counters = self._reception.counters
        try:
            return await self._receive(request, request.match_info.get("token"))
        except RefusedError as refused:
            counters.refused += 1
            return json_answer(refused.status, {"error": refused.reason})
        except (BrokerUnavailableError, OverloadedError) as outage:
            counters.unavailable += 1
            logger.warning("event.not_stored", reason=outage.reason)
            return json_answer(503, NOT_STORED, RETRY_AFTER)

    async def _receive(self, request: web.Request, token: str | None) -> web.StreamResponse:
        """Answer 200 once the event is durable."""
        challenge = request.headers.get(CHALLENGE_HEADER)
        if challenge is not None and (answer := self._reception.answer_challenge(challenge)):
            return json_answer(200, {"challenge": answer})
        candidates = self._reception.check_head(token, request.headers)
        if self._bodies >= MOST_BODIES:
            raise OverloadedError("too many large bodies at a time")
        self._bodies += 1
        try:
            body = await _read_body(request, candidates[0])
            job = self._reception.read(candidates, request.headers, body)
            status = self._reception.count(accepted=await self._admission.admit(job))
        finally:
            self._bodies -= 1
        return json_answer(200, {"status": status, "id": job.record.id})


async def _read_body(request: web.Request, gate: AccountPolicy) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise gate.too_large() from None
    except TimeoutError:
        raise RefusedError(408, "the body did not arrive in time") from None
    except (ConnectionError, web.RequestPayloadError):
        raise RefusedError(400, "the body did not arrive whole") from None


def create_app(reception: Verifier, admission: GroupCommit) -> web.Application:
    """The application of the public listener."""
    # One byte more than the limit, so that it is the gate that finds a body too large.
    app = web.Application(client_max_size=reception.max_body_bytes + 1, middlewares=[_answer_in_json])
    door = WebhookView(reception, admission)
    app.router.add_post("/hooks/konvox/{token}", door.answer)
    app.router.add_post("/hooks/konvox", door.answer)
    app.router.add_get("/healthz", _healthz)
    return app


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        unknown = not_found()
        return json_answer(unknown.status, {"error": unknown.reason})


async def _healthz(_: web.Request) -> web.Response:
    return json_answer(200, {"status": "ok"})
