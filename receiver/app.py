"""The public listener's aiohttp application: every request that is not a plain delivery, and every refusal.

Made by `receiver.listener`. It answers `POST` to the hook's path, with and without a token, and `GET /healthz`;
everything else gets one and the same 404. Platforms that probe the hook's path with GET, HEAD or OPTIONS hear that it
is there, if they would also be let in with a POST.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from broker.errors import BrokerUnavailableError
from broker.records import Job
from receiver.access_log import log_not_stored, log_shed
from receiver.challenge import CHALLENGE_HEADER
from receiver.counters import Counters
from receiver.errors import OverloadedError, RefusedError
from receiver.group_commit import GroupCommit
from receiver.paths import HEALTH_PATH, HOOK_PATH, HOOK_PATH_WITH_TOKEN
from receiver.responses import (
    BODY_BROKEN,
    BODY_TOO_SLOW,
    HEALTHY,
    METHODS,
    NOT_FOUND,
    NOT_STORED,
    OVERLOADED,
    Response,
    challenge_answered,
    stored,
    stored_together,
)
from receiver.verification import AccountPolicy, Verifier

BODY_SECONDS = 7.0
"""How long a body may take. If its chunks stop half-way, we would otherwise wait until the sender gives up."""

MOST_BODIES = 64
"""How many bodies are read at a time. The large ones come this way, and all of them are held in memory."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebhookView:
    """Answers requests to the hook's path.

    Args:
        verifier: decides about them.
        group_commit: makes their events durable.
        counters: count how they ended.
    """

    def __init__(self, verifier: Verifier, group_commit: GroupCommit, counters: Counters) -> None:
        self._verifier = verifier
        self._group_commit = group_commit
        self._counters = counters
        self._bodies = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever is wrong with it or with the store."""
        token = request.match_info.get("token")
        try:
            if request.method != "POST":
                return _for_aiohttp(self._probed(request.method, token))
            return _for_aiohttp(await self._receive(request, token))
        except RefusedError as refused:
            self._counters.refused += 1
            return _for_aiohttp(refused.response)
        except OverloadedError as overload:
            self._counters.shed += 1
            log_shed(overload)
            return _for_aiohttp(OVERLOADED)
        except BrokerUnavailableError as outage:
            self._counters.unavailable += 1
            log_not_stored(outage)
            return _for_aiohttp(NOT_STORED)

    def _probed(self, method: str, token: str | None) -> Response:
        self._verifier.check_path(token)
        return METHODS if method == "OPTIONS" else HEALTHY

    async def _receive(self, request: web.Request, token: str | None) -> Response:
        """Answer a challenge, or an event or an array of events once it is durable."""
        challenge = request.headers.get(CHALLENGE_HEADER)
        if challenge is not None and (answer := self._verifier.answer_challenge(challenge)):
            return challenge_answered(answer)
        candidates = self._verifier.check_head(token, request.headers)
        if self._bodies >= MOST_BODIES:
            raise OverloadedError("too many large bodies at a time")
        self._bodies += 1
        try:
            body = await _read_body(request, candidates[0])
            received_at_ms = time.time_ns() // 1_000_000
            read = self._verifier.read(candidates, request.headers, body, received_at_ms=received_at_ms)
            return await (self._admit_together(read) if isinstance(read, list) else self._admit(read))
        finally:
            self._bodies -= 1

    async def _admit(self, job: Job) -> Response:
        accepted = await self._group_commit.admit(job)
        self._counters.count_stored(accepted=accepted)
        return stored(job.record.id, accepted=accepted)

    async def _admit_together(self, jobs: Sequence[Job]) -> Response:
        results = await self._group_commit.admit_together(jobs)
        for accepted in results:
            self._counters.count_stored(accepted=accepted)
        return stored_together([job.record.id for job in jobs], results)


async def _read_body(request: web.Request, policy: AccountPolicy) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise policy.too_large() from None
    except TimeoutError:
        raise RefusedError(BODY_TOO_SLOW) from None
    except (ConnectionError, web.RequestPayloadError):
        raise RefusedError(BODY_BROKEN) from None


def create_app(verifier: Verifier, group_commit: GroupCommit, counters: Counters) -> web.Application:
    """The application of the public listener."""
    # One byte more than the limit: verification, and not aiohttp, is to find a body too large.
    app = web.Application(client_max_size=verifier.max_body_bytes + 1, middlewares=[_answer_in_json])
    view = WebhookView(verifier, group_commit, counters)
    for path in (HOOK_PATH_WITH_TOKEN, HOOK_PATH):
        for method in ("POST", "GET", "HEAD", "OPTIONS"):
            app.router.add_route(method, path, view.answer)
            app.router.add_route(method, f"{path}/", view.answer)
    app.router.add_get(HEALTH_PATH, _healthz)
    return app


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return _for_aiohttp(NOT_FOUND)


async def _healthz(_: web.Request) -> web.Response:
    return _for_aiohttp(HEALTHY)


def _for_aiohttp(response: Response) -> web.Response:
    headers = dict(response.headers)
    content_type = "application/json" if response.content else None
    return web.Response(
        status=response.status, body=response.body or None, content_type=content_type, headers=headers or None
    )
