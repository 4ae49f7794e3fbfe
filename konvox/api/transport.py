"""Send API calls over the network, read the answers, and retry calls that are safe to repeat.

Called by `calls`. No error of aiohttp leaves this module, because some hold the request's headers, and the API key in
them. Our errors are therefore made inside an `except` block and raised outside of it: otherwise aiohttp's error would
stay in `__context__`.
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
from konvox.proxies import open_session

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
    """The API's URL, and the key for it. No repr shows the key."""

    url: URL
    key: SecretStr
    auth: AuthScheme
    timeout_seconds: float

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages."""
        return str(self.url.origin())

    def headers(self, *, with_body: bool) -> dict[str, str]:
        """The headers of a request. Do not keep them in a variable: tracebacks may show local variables."""
        key = self.key.get_secret_value()
        credentials = {"Authorization": f"Bearer {key}"} if self.auth == "bearer" else {"X-API-Key": key}
        content = {"Content-Type": "application/json"} if with_body else {}
        return {**credentials, **content, "Accept": "application/json", "User-Agent": USER_AGENT}

    def timeouts(self) -> aiohttp.ClientTimeout:
        """The time limits. Connecting may take half of the time; a call that fails within it was surely not sent."""
        return aiohttp.ClientTimeout(total=self.timeout_seconds, connect=self.timeout_seconds / 2)

    def scrub(self, text: str) -> str:
        """The text with the key replaced."""
        return text.replace(self.key.get_secret_value(), "[the API key]")


def access(url: str, key: str, *, auth: AuthScheme, timeout_seconds: float) -> Access:
    """Check the API's URL and key. Called by `KonvoxClient` and `doctor`.

    Raises:
        InvalidArgumentError: the URL has a user, a query or a fragment; the key cannot be sent; the scheme is unknown;
            or the time limit is not positive.
    """
    key = key.strip()  # keys from files and variables often end in a line break
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
    """Whether to retry a failed call: the fault may be temporary, and the call cannot take effect twice."""
    temporary = (
        isinstance(error, (ApiConnectionError, ApiTimeoutError, InternalServerError, RateLimitedError))
        or error.status in _GATEWAY_STATUSES
    )
    return temporary and (method != "POST" or surely_without_effect(error))


def surely_without_effect(error: KonvoxApiError) -> bool:
    """Whether a failed call certainly had no effect: it was not sent, or refused for its rate."""
    return isinstance(error, RateLimitedError) or (isinstance(error, ApiConnectionError) and not error.maybe_sent)


class Transport:
    """Makes calls over one session, which it closes if it made the session itself."""

    def __init__(self, access: Access, *, session: aiohttp.ClientSession | None, retry: CallRetries) -> None:
        self.access = access
        self._session = session
        self._owns_session = session is None
        self._retry = retry

    async def open(self) -> None:
        """Make a session, unless one was given."""
        if self._owns_session and self._session is None:
            self._session = open_session(cookie_jar=aiohttp.DummyCookieJar())

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
        """Make a call, and retry it while that is safe and may help.

        Args:
            method: the HTTP method.
            path: the path below the API's URL.
            query: the query's parameters.
            body: the JSON object to send.

        Raises:
            KonvoxApiError: the call failed; each kind of failure has its own subclass.
        """
        call = Call(method, path)
        url = self.access.url.joinpath(path.lstrip("/"), encoded=True).with_query(query or {})
        payload = None if body is None else _json(body)
        earlier: list[KonvoxApiError] = []  # the errors of the attempts before the last
        outcome: Answer | KonvoxApiError = await self._retrying(method, earlier)(self._attempt, call, url, payload)
        if isinstance(outcome, Answer):
            return outcome
        if method == "DELETE" and isinstance(outcome, NotFoundError) and not all(map(surely_without_effect, earlier)):
            return Answer(call, 404, data=None)  # an earlier attempt deleted it, and its answer was lost
        raise outcome

    def _retrying(self, method: Method, earlier: list[KonvoxApiError]) -> AsyncRetrying:
        """The retry loop. Errors pass through it as results, because tenacity would wrap and chain raised ones."""
        policy = self._retry

        def wait(state: RetryCallState) -> float:
            wish = getattr(_outcome(state), "retry_after_seconds", None)
            return wait_seconds(policy, attempt=state.attempt_number, retry_after_seconds=wish)

        def before_sleep(state: RetryCallState) -> None:
            error = _outcome(state)
            earlier.append(error)
            structlog.get_logger("konvox.api").warning(
                "api_call.retried",
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
    """The result of the last attempt; tenacity calls this only after one."""
    return state.outcome and state.outcome.result()


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Prevent aiohttp from repeating a GET or DELETE itself: we could neither count nor judge those attempts."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        reason = type(error).__name__
    raise aiohttp.ClientConnectionError(reason)  # aiohttp does not repeat a request after this error


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        fault = "an argument cannot be written as JSON in UTF-8"
    raise InvalidArgumentError(fault)
