"""What a handler gets besides the event.

The worker makes a context for every attempt, and the test kit makes one for users' own tests. It only carries data.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import aiohttp
    from structlog.typing import FilteringBoundLogger

    from konvox.client import KonvoxClient

T = TypeVar("T")


class OnceGate(Protocol):
    """Lets an effect happen once, although the handler around it may run again: `ctx.once`."""

    def __call__(self, key: str, /) -> AbstractAsyncContextManager[bool]:
        """Enter with `async with ctx.once("crm") as first:`; `first` is True for the first attempt with this key.

        The key is scoped to this event and handler: other events and other handlers may use the same one. If the block
        raises, the key is released, and the retry runs the block again.
        """
        ...


class Runner(Protocol):
    """Lets a plain `def` use what has to be awaited: `ctx.run`."""

    def __call__(self, awaitable: Awaitable[T], /) -> T:
        """Wait for `awaitable` in the worker's event loop; return its result, or raise its error.

        A response of `ctx.http` is read in full. At the handler's time limit the awaitable is cancelled.

        Raises:
            ContextMisusedError: it is called in an `async def`, or with something that cannot be awaited.
            TimeoutError: the attempt is over.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Context:
    """What a handler works with.

    Attributes:
        konvox: the client of the Konvox API.
        http: an aiohttp session that all handlers share; do not close it.
        log: a structlog logger that already knows the event and the handler.
        once: `async with ctx.once("crm") as first: if first: …` makes an effect idempotent. The key is scoped to this
            event and handler, and released if the block raises.
        run: for a plain `def`: `answer = ctx.run(ctx.http.post(…))` waits for what an `async def` would await. A call
            of `ctx.http`, `ctx.konvox` or `ctx.once` that nobody awaits makes the attempt fail.
        attempt: 1 in the first attempt, 2 in the first retry.
        state: what the `lifespan` of the handler's module yielded; None where it has none.
    """

    konvox: KonvoxClient = field(repr=False)
    http: aiohttp.ClientSession = field(repr=False)
    log: FilteringBoundLogger = field(repr=False)
    once: OnceGate = field(repr=False)
    run: Runner = field(repr=False)
    attempt: int = 1
    # Often a token, or a URL that is as good as one: a repr in a log must not show it.
    state: Any = field(default=None, repr=False)
