"""What a handler began through its context: a call that it made and nobody awaited makes its attempt fail.

`ctx.http.post(…)` without `await` sends nothing, and the handler would be called done all the same. So the worker gives
each attempt that asks for `ctx.http`, `ctx.konvox` or `ctx.once` a view of its own on them, which remembers the calls
until somebody awaits them. The dispatcher asks when the handler has ended. A handler that uses none of the three has no
`Effects` at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from handlers import Context
from handlers.context import OnceGate
from handlers.run import ThreadRunner, discard

_TURNS = 10
"""How many turns of the loop a task that outlives the handler has for beginning the call that it was given.
`asyncio.create_task(asyncio.wait_for(call, 5))` needs three."""

BegunT = TypeVar("BegunT", bound="_Begun")


class Effects:
    """The calls of one attempt that nobody has awaited yet, and its `ctx.run`.

    Args:
        loop: the worker's event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.run = ThreadRunner(loop)
        self._pending: dict[_Begun, None] = {}  # in the order in which they were made; changed from threads as well

    def view(self, target: Any, label: str, *, deep: bool = False) -> Any:
        """What the handler gets instead of `target`.

        Args:
            target: the session or the client.
            label: what the handler calls it, for errors.
            deep: whether its attributes have methods to watch as well.
        """
        return _View(self, target, label, deep=deep)

    def once(self, gate: OnceGate) -> OnceGate:
        """The same gate, watched."""

        def enter(key: str, /) -> AbstractAsyncContextManager[bool]:
            return self._add(_Block(self, gate(key), "ctx.once"))

        return enter

    async def never_awaited(self) -> str:
        """Which calls nobody has awaited, for an error; empty if there is none.

        What was given to a task counts as awaited if the task begins it soon.
        """
        for _ in range(_TURNS):
            if not self._pending:
                return ""
            await asyncio.sleep(0)
        labels = dict.fromkeys(call.label for call in list(self._pending))
        return f"{', '.join(f'{label}(…)' for label in labels)} was never awaited" if labels else ""

    def close(self) -> None:
        """End what still waits: the attempt is over, and what it did not begin is not to happen behind its back."""
        self.run.close()
        while self._pending:
            call, _ = self._pending.popitem()
            discard(call.inner)

    def watch(self, result: Any, label: str) -> Any:
        """Remember the result of a call, if it is one to await."""
        if isinstance(result, Awaitable):
            return self._add(_Call(self, result, label))
        if isinstance(result, AsyncIterator):
            return self._add(_Iteration(self, result, label))
        return result

    def begun(self, call: _Begun) -> None:
        """Somebody awaits it: it need not be remembered any longer."""
        self._pending.pop(call, None)

    def _add(self, call: BegunT) -> BegunT:
        self._pending[call] = None
        return call


def effects_of(context: Context) -> Effects | None:
    """The effects of an attempt; None if its handler has asked for nothing that can have any."""
    return getattr(context, "effects", None)


class _View:
    """An object whose methods are watched. In all else it is as the object itself, `isinstance` included."""

    __slots__ = ("__weakref__", "_deep", "_effects", "_label", "_target")

    def __init__(self, effects: Effects, target: Any, label: str, *, deep: bool) -> None:
        self._effects, self._target, self._label, self._deep = effects, target, label, deep

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            return type(self._target)

    def __repr__(self) -> str:
        return repr(self._target)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        label, effects = f"{self._label}.{name}", self._effects
        if name.startswith("_") or isinstance(value, type):
            return value
        if not callable(value):
            return effects.view(value, label) if self._deep else value

        def call(*arguments: Any, **named: Any) -> Any:
            return effects.watch(value(*arguments, **named), label)

        return call


class _Begun:
    """Something that happens only when somebody awaits it; attributes are those of the thing itself."""

    __slots__ = ("__weakref__", "_effects", "inner", "label")

    def __init__(self, effects: Effects, inner: Any, label: str) -> None:
        self._effects, self.inner, self.label = effects, inner, label

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Block(_Begun, AbstractAsyncContextManager[Any]):
    """For `async with`."""

    __slots__ = ()

    async def __aenter__(self) -> Any:
        enter = self.inner.__aenter__()
        self._effects.begun(self)
        return await enter

    async def __aexit__(self, *error: object) -> Any:
        return await self.inner.__aexit__(*error)


class _Call(_Block, Coroutine[Any, Any, Any]):
    """For `await`, for `async with`, and for a task."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Any]:
        self._effects.begun(self)
        return self.inner.__await__()  # type: ignore[no-any-return]

    def send(self, value: Any, /) -> Any:
        self._effects.begun(self)
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        self._effects.begun(self)
        return self.inner.throw(*error)

    def close(self) -> None:
        self._effects.begun(self)
        self.inner.close()


class _Iteration(_Begun, AsyncIterator[Any]):
    """For `async for`."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        self._effects.begun(self)
        return self

    async def __anext__(self) -> Any:
        self._effects.begun(self)  # anext() does without __aiter__
        return await self.inner.__anext__()
