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
from receiver.access_log import RequestLog
from receiver.bodies import LARGE, SMALL, BodiesInProgress
from receiver.challenge import CHALLENGE_HEADER, AnsweredChallenges
from receiver.counters import Counters
from receiver.delegated import for_aiohttp
from receiver.errors import OverloadedError, RefusedError
from receiver.group_commit import GroupCommit
from receiver.paths import HEALTH_PATH, HOOK_PATH, HOOK_PATH_WITH_TOKEN
from receiver.peers import TrustedProxies, peer_key
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
"""How many large bodies are read at a time: all of them are held in memory. A small one takes a share of that."""

MOST_BODIES_PER_PEER = 32
"""How many of them one peer may have in progress, so that a slow one leaves room for others."""

SMALL_BODY_BYTES = 65_536
"""A body of announced length up to this is a small one."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebhookView:
    """Answers requests to the hook's path.

    Args:
        verifier: decides about them.
        group_commit: makes their events durable.
        counters: count how they ended.
        log: of the listener.
        proxies: those whose word about a peer counts.
        challenges: those that were answered.
    """

    def __init__(
        self,
        verifier: Verifier,
        group_commit: GroupCommit,
        counters: Counters,
        log: RequestLog,
        *,
        proxies: TrustedProxies,
        challenges: AnsweredChallenges,
    ) -> None:
        self._verifier = verifier
        self._group_commit = group_commit
        self._counters = counters
        self._log = log
        self._proxies = proxies
        self._challenges = challenges
        self._bodies = BodiesInProgress()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever is wrong with it or with the store."""
        token = request.match_info.get("token")
        try:
            if request.method != "POST":
                return for_aiohttp(self._probed(request.method, token))
            return for_aiohttp(await self._receive(request, token))
        except RefusedError as refused:
            self._counters.refused += 1
            return for_aiohttp(refused.response)
        except OverloadedError as overload:
            self._counters.shed += 1
            self._log.shed(overload)
            return for_aiohttp(OVERLOADED)
        except BrokerUnavailableError as outage:
            self._counters.unavailable += 1
            self._log.not_stored(outage)
            return for_aiohttp(NOT_STORED)

    def _probed(self, method: str, token: str | None) -> Response:
        self._verifier.check_path(token)
        return METHODS if method == "OPTIONS" else HEALTHY

    async def _receive(self, request: web.Request, token: str | None) -> Response:
        """Answer a challenge, or an event or an array of events once it is durable."""
        challenge = request.headers.get(CHALLENGE_HEADER)
        if challenge is not None and (answer := self._answer_challenge(request, challenge, token)):
            return challenge_answered(answer)
        candidates = self._verifier.check_head(token, request.headers)
        self._verifier.check_shown(token, request.headers, candidates)
        peer = peer_key(self._proxies.peer(request.remote, request.headers))
        length = request.content_length  # None for chunks
        room = LARGE if length is None or length > SMALL_BODY_BYTES else SMALL
        with self._bodies.one_more(peer, room, most=MOST_BODIES, most_per_peer=MOST_BODIES_PER_PEER):
            body = await _read_body(request, candidates[0])
            received_at_ms = time.time_ns() // 1_000_000
            read = self._verifier.read(candidates, request.headers, body, received_at_ms=received_at_ms)
            return await (self._admit_together(read) if isinstance(read, list) else self._admit(read))

    async def _admit(self, job: Job) -> Response:
        accepted = await self._group_commit.admit(job)
        self._counters.count_stored(accepted=accepted)
        return stored(job.record.id, accepted=accepted)

    async def _admit_together(self, jobs: Sequence[Job]) -> Response:
        results = await self._group_commit.admit_together(jobs)
        for accepted in results:
            self._counters.count_stored(accepted=accepted)
        return stored_together([job.record.id for job in jobs], results)

    def _answer_challenge(self, request: web.Request, challenge: str, token: str | None) -> str | None:
        now_seconds = int(time.time())
        answer = self._verifier.answer_challenge(
            challenge, token=token, host=request.headers.get("Host"), now_seconds=now_seconds
        )
        if answer is None or not self._challenges.is_first(answer.nonce, answer.made_seconds, now_seconds=now_seconds):
            return None
        return answer.proof


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


def create_app(
    verifier: Verifier,
    group_commit: GroupCommit,
    counters: Counters,
    *,
    log: RequestLog | None = None,
    proxies: TrustedProxies | None = None,
    challenges: AnsweredChallenges | None = None,
) -> web.Application:
    """The application of the public listener."""
    proxies = proxies or TrustedProxies()
    view = WebhookView(
        verifier,
        group_commit,
        counters,
        log or RequestLog(proxies),
        proxies=proxies,
        challenges=challenges or AnsweredChallenges(),
    )
    # One byte more than the limit: verification, and not aiohttp, is to find a body too large.
    app = web.Application(client_max_size=verifier.max_body_bytes + 1, middlewares=[_answer_in_json])
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
        return for_aiohttp(NOT_FOUND)


async def _healthz(_: web.Request) -> web.Response:
    return for_aiohttp(HEALTHY)
