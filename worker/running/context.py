"""What handlers are called with: the shared HTTP session, the Konvox client, their module's state, `ctx.once`.

Made once per worker process; local replay makes it with gates in memory instead of Redis.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import structlog

from broker.records import Job
from handlers import Context
from handlers.context import OnceGate
from handlers.loader import LoadedHandlers
from handlers.registry import Handler
from konvox.api.transport import AuthScheme
from konvox.client import KonvoxClient
from konvox.inferred import DEFAULT_PATHS, SECRET_FIELDS, Paths
from konvox.proxies import open_session
from worker.errors import NoKonvoxAccessError
from worker.running.dispatcher import ContextFactory
from worker.running.effects import Effects
from worker.running.lifespans import BoundedLifespan, SecondsLeft

HTTP_TIMEOUT_SECONDS = 30.0
"""The time limit of `ctx.http` where a handler sets none."""

GateFactory = Callable[[Job, Handler], OnceGate]

logger = structlog.get_logger("handler")


@dataclass(frozen=True, slots=True)
class KonvoxAccess:
    """Where the Konvox API is, and the key to it; only handlers that use `ctx.konvox` need either.

    Attributes:
        api_url: the API's URL.
        api_key: the key.
        auth: in which header the key goes.
        paths: where the resources are.
        secret_fields: in which fields a new webhook's signing secret may come.
    """

    api_url: str | None
    api_key: str | None = field(repr=False)
    auth: AuthScheme = "bearer"
    paths: Paths = DEFAULT_PATHS
    secret_fields: Sequence[str] = SECRET_FIELDS


class _NoClient:
    """Takes the place of the client where there is no access: only a handler that uses it fails."""

    def __getattr__(self, name: str) -> Any:
        raise NoKonvoxAccessError


def _no_client() -> KonvoxClient:
    return cast(KonvoxClient, _NoClient())


def _client(access: KonvoxAccess, http: aiohttp.ClientSession) -> KonvoxClient:
    if access.api_url is None or access.api_key is None:
        return _no_client()
    return KonvoxClient(
        access.api_url,
        access.api_key,
        session=http,
        auth=access.auth,
        paths=access.paths,
        secret_fields=access.secret_fields,
    )


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the contexts of all attempts are made from."""

    loop: asyncio.AbstractEventLoop
    http: aiohttp.ClientSession
    clients: Mapping[str, KonvoxClient]
    once_gate: GateFactory


class _WorkerContext(Context):
    """Makes all but attempt and state when the handler first uses it.

    Most handlers use little of it, and it costs as much as all the rest of the event.

    Attributes:
        effects: what the handler begins through the context; None until it uses anything that can have an effect.
    """

    __slots__ = ("_handler", "_job", "_shared", "effects")

    effects: Effects | None

    def __init__(self, job: Job, handler: Handler, shared: _Shared, state: Any) -> None:
        self._job, self._handler, self._shared, self.state = job, handler, shared, state
        self.attempt = job.attempt
        self.effects = None

    def __getattr__(self, name: str) -> Any:
        """Called for a slot that is still empty."""
        record = self._job.record
        match name:
            case "log":
                self.log = logger.bind(event_id=record.id, event_type=record.type, handler=self._handler.name)
            case "http":
                self.http = self._effects().view(self._shared.http, "ctx.http")
            case "konvox":
                client = self._shared.clients.get(record.account) or _no_client()
                self.konvox = self._effects().view(client, "ctx.konvox", deep=True)
            case "once":
                self.once = self._effects().once(self._shared.once_gate(self._job, self._handler))
            case "run":
                self.run = self._effects().run
            case _:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return object.__getattribute__(self, name)

    def _effects(self) -> Effects:
        with _making_effects:  # a plain handler may have threads of its own
            if self.effects is None:
                self.effects = Effects(self._shared.loop)
            return self.effects


_making_effects = threading.Lock()


@asynccontextmanager
async def handler_contexts(
    loaded: LoadedHandlers,
    access: Mapping[str, KonvoxAccess],
    once_gate: GateFactory,
    *,
    seconds_left: SecondsLeft | None = None,
) -> AsyncIterator[ContextFactory]:
    """Open what handlers share, enter the modules' `lifespan`s, and yield what makes the contexts.

    Args:
        loaded: the handlers.
        access: to the Konvox API, by the account that an event came in for.
        once_gate: makes `ctx.once`.
        seconds_left: how long leaving the `lifespan`s may take, asked repeatedly. None for no limit.

    Raises:
        LifespanError: a module's `lifespan` failed.
    """
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT_SECONDS)
        http = await stack.enter_async_context(open_session(timeout=timeout))
        clients = {account: _client(api, http) for account, api in access.items()}
        shared = _Shared(asyncio.get_running_loop(), http, clients, once_gate)
        states = {
            module: await stack.enter_async_context(BoundedLifespan(module, lifespan, seconds_left))
            for module, lifespan in loaded.lifespans.items()
        }

        def make_context(job: Job, handler: Handler) -> Context:
            return _WorkerContext(job, handler, shared, states.get(handler.state_key))

        yield make_context
