"""The edge to the network: sends one call, reads the answer, repeats what is safe to repeat.

Called by the resources of the client. An error of aiohttp never gets out: some of them hold the request's headers, and
with them the API key. That is why the errors are made inside and raised outside of the `except` blocks: even the
implicit chain would keep them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeAlias

import aiohttp
import orjson
import structlog
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt
from yarl import URL

from konvox.api.answers import Answer, Call, read_answer
from konvox.api.backoff import CallRetries, retry_after_seconds, wait_seconds
from konvox.errors import (
    ApiConnectionError,
    ApiTimeoutError,
    InternalServerError,
    InvalidArgumentError,
    KonvoxApiError,
    NotFoundError,
    RateLimitedError,
    UnexpectedStatusError,
)

AuthScheme: TypeAlias = Literal["bearer", "x-api-key"]
Method: TypeAlias = Literal["GET", "POST", "PATCH", "DELETE"]

_GATEWAY_STATUSES = frozenset({502, 503, 504})


def _user_agent() -> str:
    try:
        return f"konvox-hooks/{version('konvox-hooks')}"
    except PackageNotFoundError:
        return "konvox-hooks"


USER_AGENT = _user_agent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API is and how we are let in. The key shows in no repr."""

    url: URL
    key: SecretStr
    auth: AuthScheme
    timeout_seconds: float

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages."""
        return str(self.url.origin())

    def headers(self, *, with_body: bool) -> dict[str, str]:
        """The headers of a request. To be kept in no variable: tracebacks may show the variables."""
        key = self.key.get_secret_value()
        credentials = {"Authorization": f"Bearer {key}"} if self.auth == "bearer" else {"X-API-Key": key}
        content = {"Content-Type": "application/json"} if with_body else {}
        return {**credentials, **content, "Accept": "application/json", "User-Agent": USER_AGENT}

    def timeouts(self) -> aiohttp.ClientTimeout:
        """Half of the time is for connecting: a call that ran out of that half was surely not sent."""
        return aiohttp.ClientTimeout(total=self.timeout_seconds, connect=self.timeout_seconds / 2)

    def scrub(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self.key.get_secret_value(), "[the API key]")


def access(url: str, key: str, *, auth: AuthScheme, timeout_seconds: float) -> Access:
    """Check where and how the API is to be reached.

    Raises:
        InvalidArgumentError: the URL is no origin (with a path at most), the key cannot be sent, the scheme is unknown.
    """
    key = key.strip()  # keys come from files and variables, with a line break at the end
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidArgumentError("api_key must be a Konvox API key, such as kvx_live_…", argument="api_key")
    if auth not in {"bearer", "x-api-key"}:
        raise InvalidArgumentError("auth must be bearer or x-api-key", argument="auth")
    if not timeout_seconds > 0:
        raise InvalidArgumentError("timeout_seconds must be more than 0", argument="timeout_seconds")
    return Access(url=_api_url(url), key=SecretStr(key), auth=auth, timeout_seconds=timeout_seconds)


def _api_url(text: str) -> URL:
    try:
        url = URL(text.strip())
        usable = url.scheme in {"http", "https"} and bool(url.host)
    except ValueError:
        usable = False
    if not usable or url.user is not None or url.password is not None or url.query_string or url.fragment:
        message = "api_url must be the http(s) URL of the Konvox API, without user, query and fragment"
        raise InvalidArgumentError(message, argument="api_url")
    return url


def may_repeat(method: Method, error: KonvoxApiError) -> bool:
    """Whether a failed call may be made again: it may work then, and cannot have two effects."""
    passing = (
        isinstance(error, (ApiConnectionError, ApiTimeoutError, InternalServerError, RateLimitedError))
        or error.status in _GATEWAY_STATUSES
    )
    return passing and (method != "POST" or surely_not_done(error))


def surely_not_done(error: KonvoxApiError) -> bool:
    """Whether a failed call had no effect for certain: it was not sent, or turned away at the door."""
    return isinstance(error, RateLimitedError) or (isinstance(error, ApiConnectionError) and not error.maybe_sent)


class Transport:
    """Makes calls. Holds the session, and closes it if it is its own."""

    def __init__(self, access: Access, *, session: aiohttp.ClientSession | None, retry: CallRetries) -> None:
        self.access = access
        self._session = session
        self._owns_session = session is None
        self._retry = retry

    async def open(self) -> None:
        """Make a session, unless one was given."""
        if self._owns_session and self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Close the session, unless it was given."""
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def call(
        self,
        method: Method,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Make a call, and repeat it while that is safe and may help.

        Raises:
            KonvoxApiError: the call failed; each kind of failure has its subclass.
        """
        call = Call(method, path)
        url = self.access.url.joinpath(path.lstrip("/"), encoded=True).with_query(query or {})
        payload = None if body is None else _json(body)
        earlier: list[KonvoxApiError] = []  # what became of the attempts before the last
        outcome: Answer | KonvoxApiError = await self._retrying(method, earlier)(self._attempt, call, url, payload)
        if isinstance(outcome, Answer):
            return outcome
        if method == "DELETE" and isinstance(outcome, NotFoundError) and not all(map(surely_not_done, earlier)):
            return Answer(call, 404, data=None)  # an earlier attempt deleted it, and its answer got lost
        raise outcome

    def _retrying(self, method: Method, earlier: list[KonvoxApiError]) -> AsyncRetrying:
        """The loop. Errors pass through it as results, never raised: so no `RetryError` and no chain comes about."""
        policy = self._retry

        def wait(state: RetryCallState) -> float:
            wish = getattr(_outcome(state), "retry_after_seconds", None)
            return wait_seconds(policy, attempt=state.attempt_number, retry_after_seconds=wish)

        def before_sleep(state: RetryCallState) -> None:
            error = _outcome(state)
            earlier.append(error)
            structlog.get_logger("konvox.api").warning(
                "konvox.api.retry",
                method=error.method,
                path=error.path,
                attempt=state.attempt_number,
                wait_seconds=round(state.upcoming_sleep, 3),
                error=type(error).__name__,
                status=error.status,
            )

        return AsyncRetrying(
            retry=retry_if_result(lambda outcome: isinstance(outcome, KonvoxApiError) and may_repeat(method, outcome)),
            stop=stop_after_attempt(policy.attempts),
            wait=wait,
            before_sleep=before_sleep,
            sleep=policy.sleep,
            retry_error_callback=_outcome,
        )

    async def _attempt(self, call: Call, url: URL, payload: bytes | None) -> Answer | KonvoxApiError:
        session = self._session
        if session is None or session.closed:
            return InvalidArgumentError("the client is not open: `async with KonvoxClient(…) as konvox:`")
        try:
            async with session.request(
                call.method,
                url,
                data=payload,
                headers=self.access.headers(with_body=payload is not None),
                timeout=self.access.timeouts(),
                allow_redirects=False,
                raise_for_status=False,
                middlewares=(_send_once,),
            ) as response:
                content, status = await response.read(), response.status
                retry_after = response.headers.get("Retry-After")
        except aiohttp.ClientConnectorError as error:
            return self._unreachable(call, error.strerror, maybe_sent=False)
        except aiohttp.ConnectionTimeoutError:
            return self._unreachable(call, "no connection in time", maybe_sent=False)
        except TimeoutError:
            message = f"no answer from {self.access.origin} within {self.access.timeout_seconds:g} s"
            return call.failed(ApiTimeoutError, message)
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(call, type(error).__name__, maybe_sent=True)
        outcome = read_answer(call, status=status, body=content, scrub=self.access.scrub)
        if isinstance(outcome, (RateLimitedError, UnexpectedStatusError)):
            outcome.retry_after_seconds = retry_after_seconds(retry_after, now=datetime.now(UTC))
        return outcome

    def _unreachable(self, call: Call, why: str | None, *, maybe_sent: bool) -> KonvoxApiError:
        what = "the connection broke" if maybe_sent else "cannot connect"
        error = ApiConnectionError(
            f"{what}: {self.access.origin} ({why or 'no reason given'})", method=call.method, path=call.path
        )
        error.maybe_sent = maybe_sent
        return error


def _outcome(state: RetryCallState) -> Any:
    """What the last attempt returned; tenacity asks only after one."""
    return state.outcome and state.outcome.result()


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or a DELETE by itself: only what we know of can be counted and judged."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        reason = type(error).__name__
    raise aiohttp.ClientConnectionError(reason)  # which is not among those that aiohttp repeats


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        fault = "an argument cannot be written as JSON in UTF-8"
    raise InvalidArgumentError(fault)
