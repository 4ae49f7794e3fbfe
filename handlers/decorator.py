"""`@on`: marks a function as a handler, and refuses at once what could not work later.

Runs when users' modules are imported. It registers nothing: the function stays as it is and can be called directly in
tests. The loader finds it if KONVOX_HANDLERS lists its module.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, overload

from handlers.errors import InvalidHandlerError
from konvox.events import EVENT_NAMES, Event

if TYPE_CHECKING:
    from handlers.context import Context

_MARKER = "__konvox_handler__"
_EXAMPLE = '@on("contact.replied")'
_SIGNATURE = "write it as async def name(event, ctx), or as a plain def"

DAY_SECONDS = 86_400.0

_LONGEST_NAME = 200
"""In characters. The name is a part of the ids of jobs and dead letters."""

E = TypeVar("E", bound=Event)
R = TypeVar("R")
F = TypeVar("F", bound="Callable[[Any, Context], object]")


@dataclass(frozen=True, slots=True)
class Mark:
    """The arguments of `@on`, kept on the function for the loader.

    Attributes:
        function: the function that `@on` stands above, to tell it from a wrapper that copied its attributes.
        patterns: the event names and wildcards, each once.
        when: the predicate, if any.
        attempts: how many there are in all.
        timeout_seconds: how long one attempt may take.
        backoff_base_seconds: the wait before the second attempt.
        backoff_cap_seconds: the longest wait between two attempts.
        retry_for_seconds: for how long after the first attempt waiting as told uses up no attempt.
        name: the handler's own name, if it is not to be that of its function.
        was: the names that it had before.
    """

    function: Callable[..., Any]
    patterns: tuple[str, ...]
    when: Callable[[Any], bool] | None
    attempts: int
    timeout_seconds: float
    backoff_base_seconds: float
    backoff_cap_seconds: float
    retry_for_seconds: float = DAY_SECONDS
    name: str | None = None
    was: tuple[str, ...] = ()


# With one event class, type checkers compare it with the function's first parameter. Several classes they would join to
# `Event`, which no typed handler takes: the loader checks those.
@overload
def on(
    target: type[E],
    /,
    *,
    when: Callable[[E], bool] | None = None,
    attempts: int = 8,
    timeout: float = 30,
    backoff: float = 1.0,
    backoff_cap: float = 600.0,
    retry_for: float | timedelta = DAY_SECONDS,
    name: str | None = None,
    was: str | Sequence[str] = (),
) -> Callable[[Callable[[E, Context], R]], Callable[[E, Context], R]]: ...


@overload
def on(
    target: type[Event],
    other: str | type[Event],
    /,
    *targets: str | type[Event],
    when: Callable[[Any], bool] | None = None,
    attempts: int = 8,
    timeout: float = 30,
    backoff: float = 1.0,
    backoff_cap: float = 600.0,
    retry_for: float | timedelta = DAY_SECONDS,
    name: str | None = None,
    was: str | Sequence[str] = (),
) -> Callable[[F], F]: ...


@overload
def on(
    target: str,
    /,
    *targets: str | type[Event],
    when: Callable[[Any], bool] | None = None,
    attempts: int = 8,
    timeout: float = 30,
    backoff: float = 1.0,
    backoff_cap: float = 600.0,
    retry_for: float | timedelta = DAY_SECONDS,
    name: str | None = None,
    was: str | Sequence[str] = (),
) -> Callable[[F], F]: ...


def on(
    *targets: str | type[Event],
    when: Callable[[Any], bool] | None = None,
    attempts: int = 8,
    timeout: float = 30,
    backoff: float = 1.0,
    backoff_cap: float = 600.0,
    retry_for: float | timedelta = DAY_SECONDS,
    name: str | None = None,
    was: str | Sequence[str] = (),
) -> Callable[[Any], Any]:
    """Mark the function below as a handler of these events.

    Args:
        targets: event names (`"contact.replied"`), wildcards (`"enrollment.*"`) or classes of `konvox_hooks.events`.
        when: a quick predicate on the event; the handler runs only if it is true.
        attempts: how many there are in all before the event becomes a dead letter.
        timeout: how many seconds one attempt may take.
        backoff: the wait before the second attempt in seconds, which doubles with each further one.
        backoff_cap: the longest wait between two attempts in seconds.
        retry_for: being told to wait (429, 503 with `Retry-After`, `Retry(after=…)`) uses up no attempt for so long
            after the first attempt; in seconds, or a `timedelta`. 0 for never.
        name: what retries and dead letters call the handler; without it `module.function`.
        was: the name that the handler had before, or several: it takes over their retries and dead letters.

    Raises:
        InvalidHandlerError: the arguments or the function cannot work; the message says where and how to fix it.
    """
    for target in targets:
        if inspect.isfunction(target):
            raise _invalid(target, "@on stands without its events", f"name them: {_EXAMPLE}")

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        faults = [
            *_function_faults(function),
            *_target_faults(targets),
            *_when_faults(when),
            *_number_faults(attempts, timeout, backoff, backoff_cap),
            *_span_faults(retry_for),
            *_name_faults(name, was),
        ]
        if faults:
            raise _invalid(function, *faults[0])
        patterns = tuple(dict.fromkeys(map(_pattern, targets)))
        free_seconds = retry_for.total_seconds() if isinstance(retry_for, timedelta) else retry_for
        limits = (attempts, timeout, backoff, backoff_cap, free_seconds)
        setattr(function, _MARKER, Mark(function, patterns, when, *limits, name, _names(was)))
        return function

    return mark


def mark_of(value: object) -> Mark | None:
    """The arguments of the `@on` above this function; None for anything that is not a handler.

    Raises:
        InvalidHandlerError: another decorator stands above `@on`, and it is not clear which function is meant.
    """
    mark = getattr(value, _MARKER, None) if inspect.isfunction(value) else None
    if not isinstance(mark, Mark):
        return None
    if mark.function is not value:
        raise _invalid(mark.function, "another decorator stands above @on", "put @on on top")
    return mark


def source_of(function: object) -> str:
    """`file:line` of a function; the module's name, for something else in its place."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else getattr(function, "__module__", "unknown file")


def is_nameable(name: str) -> bool:
    """Whether `@on` takes this name for one event's; with a comma or white space it is probably a mistake."""
    return bool(name) and "," not in name and not any(character.isspace() for character in name)


def _invalid(function: object, fault: str, hint: str) -> InvalidHandlerError:
    name = getattr(function, "__qualname__", None) or repr(type(function).__name__)
    return InvalidHandlerError(name, source_of(function), fault, hint)


def _pattern(target: str | type[Event]) -> str:
    if isinstance(target, str):
        return target
    return "*" if target is Event else EVENT_NAMES[target]


def _function_faults(function: object) -> Iterator[tuple[str, str]]:
    if not inspect.isfunction(function):
        yield f"@on stands above a {type(function).__name__}, which is not a function", _SIGNATURE
        return
    if getattr(function, _MARKER, None) is not None:
        yield "it already has an @on", "give a single @on all its events"
    if function.__name__ == "<lambda>":
        yield "a lambda has no name, by which retries find it", _SIGNATURE
    if "." in function.__qualname__.rpartition("<locals>.")[2]:
        yield "it stands in a class, where it would never be found", "move it to the top level of the module"
    namesake = _namesake(function)
    if namesake is not None:
        yield f"it takes the place of a handler of the same name ({source_of(namesake)})", "rename one of them"
    inner = inspect.unwrap(function)
    if inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner):
        yield "it has a yield, and calling it would run nothing", "return instead"
    parameters = inspect.signature(function).parameters.values()
    if [p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD} for p in parameters] != [True, True]:
        yield f"it takes {inspect.signature(function)}, not exactly (event, ctx)", _SIGNATURE


def _namesake(function: FunctionType) -> FunctionType | None:
    """The handler further up in the same file with the same name, which this one would silently replace."""
    other = function.__globals__.get(function.__name__) if "." not in function.__qualname__ else None
    if not inspect.isfunction(other) or getattr(other, _MARKER, None) is None:
        return None
    here, there = source_of(function), source_of(other)
    same_file = here.rpartition(":")[0] == there.rpartition(":")[0]
    # The same line means that the module is being executed again.
    return other if same_file and here != there else None


def _target_faults(targets: tuple[object, ...]) -> Iterator[tuple[str, str]]:
    if not targets:
        yield "@on() names no event", f"name one: {_EXAMPLE}"
    for target in targets:
        if isinstance(target, str):
            if not is_nameable(target):
                yield f"{target!r} is no event name", 'give each its own string: @on("contact.replied", "enrollment.*")'
        elif target is not Event and target not in EVENT_NAMES:
            known = ", ".join(model.__name__ for model in EVENT_NAMES)
            yield f"{target!r} is no event that Konvox documents", f"give an event's name or one of {known}, Event"


def _when_faults(when: object) -> Iterator[tuple[str, str]]:
    if when is None:
        return
    if not callable(when):
        yield f"when={when!r} is not a function", "give one that takes the event and returns a bool"
    elif inspect.iscoroutinefunction(when):
        yield "when= is async, and would always count as true", "give a plain def, and await in the handler"


def _number_faults(attempts: object, timeout: object, backoff: object, cap: object) -> Iterator[tuple[str, str]]:
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        yield f"attempts={attempts!r} is no whole number from 1 up", "1 runs it once, without a retry"
    if not _is_number(timeout) or timeout <= 0:
        yield f"timeout={timeout!r} is no number above 0", "give seconds, such as timeout=30"
    if not _is_number(backoff) or backoff < 0:
        yield f"backoff={backoff!r} is no number from 0 up", "give seconds, such as backoff=1.0"
    elif not _is_number(cap) or cap < backoff:
        yield f"backoff_cap={cap!r} is no number from backoff ({backoff:g}) up", "give seconds"


def _span_faults(retry_for: object) -> Iterator[tuple[str, str]]:
    seconds = retry_for.total_seconds() if isinstance(retry_for, timedelta) else retry_for
    if not _is_number(seconds) or seconds < 0:
        yield f"retry_for={retry_for!r} is no time from 0 up", "give seconds or a timedelta, such as retry_for=3600"


def _names(was: str | Sequence[str]) -> tuple[str, ...]:
    return (was,) if isinstance(was, str) else tuple(dict.fromkeys(was))


def _name_faults(name: object, was: object) -> Iterator[tuple[str, str]]:
    if name is not None and not _is_handler_name(name):
        yield f"name={name!r} is no name for a handler", 'give a word, such as name="crm.opt_out"'
    if not isinstance(was, (str, list, tuple, set, frozenset)):
        yield f"was={was!r} is no name", 'give the name from before, or a list of names: was="hooks.opt_out"'
        return
    for former in [was] if isinstance(was, str) else was:
        if not _is_handler_name(former):
            yield f"was={former!r} is no name of a handler", "give it as `konvox-hooks handlers` showed it"
        elif former == name:
            yield f"was={former!r} is the name that it has now", "give the name from before, or leave was= out"


def _is_handler_name(name: object) -> TypeGuard[str]:
    # A leading dot belongs to our own fields among the outcomes of a delivery.
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and " " not in name
        and not name.startswith(".")
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
