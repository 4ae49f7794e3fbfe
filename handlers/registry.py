"""The handlers that are plugged in, and which of them want an event.

The loader fills it. The worker asks it for every event, and commands ask it for their listings. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from handlers.errors import DuplicateHandlerError, FormerNameTakenError

if TYPE_CHECKING:
    from handlers.context import Context

_WILDCARD = "*"
_CACHED_EVENT_TYPES = 1024


@dataclass(frozen=True, slots=True)
class Handler:
    """One function that a user plugged in, and all that the worker needs to run it.

    Attributes:
        name: unique and stable, `module.function` unless `@on` says otherwise: retries and dead letters know the
            handler by it.
        function: what to call with the event and a context.
        patterns: the event names and wildcards that it wants.
        state_key: the module whose `lifespan` makes its `ctx.state`, if that module has one.
        source: `file:line` of the function.
        is_async: whether to await it; a plain function runs in a thread.
        takes_plain_event: whether it wants `Event` with `data` as it came, not the model of the event's type.
        when: a predicate on the event: the handler runs only if it is true; None for every event.
        attempts: how many there are in all before the event becomes a dead letter.
        timeout_seconds: how long one attempt may take.
        backoff_base_seconds: the wait before the second attempt, which doubles with each further one.
        backoff_cap_seconds: the longest wait between two attempts.
        retry_for_seconds: for how long after the first attempt waiting as told uses up no attempt.
        was: the names that it had before; their retries and dead letters are its own.
    """

    name: str
    function: Callable[[Any, Context], Any]
    patterns: tuple[str, ...]
    state_key: str
    source: str
    is_async: bool
    takes_plain_event: bool = False
    when: Callable[[Any], bool] | None = None
    attempts: int = 8
    timeout_seconds: float = 30.0
    backoff_base_seconds: float = 1.0
    backoff_cap_seconds: float = 600.0
    retry_for_seconds: float = 86_400.0
    was: tuple[str, ...] = ()

    def wants(self, event_type: str) -> bool:
        """Whether one of its patterns matches this type. `when` needs the event itself, and is not evaluated here."""
        return any(matches(pattern, event_type) for pattern in self.patterns)


class Registry:
    """All handlers, by name and by the events that they want."""

    def __init__(self, handlers: Iterable[Handler] = ()) -> None:
        self._by_name: dict[str, Handler] = {}
        self._by_former_name: dict[str, Handler] = {}
        # Bounded, because event types come from outside.
        self._matching = lru_cache(maxsize=_CACHED_EVENT_TYPES)(self._find_matching)
        self.add_all(handlers)

    def add_all(self, handlers: Iterable[Handler]) -> None:
        """Add handlers, all of them or none.

        Raises:
            DuplicateHandlerError: two of them, or one of them and one that is here, have the same name, or one has a
                name that another had before.
        """
        by_name = dict(self._by_name)
        for handler in handlers:
            if handler.name in by_name:
                raise DuplicateHandlerError(handler.name, (by_name[handler.name].source, handler.source))
            by_name[handler.name] = handler
        by_former_name: dict[str, Handler] = {}
        for former, heir in [(former, each) for each in by_name.values() for former in each.was]:
            other = by_name.get(former) or by_former_name.get(former)
            if other is not None:
                raise FormerNameTakenError(former, (heir.source, other.source), in_use=former in by_name)
            by_former_name[former] = heir
        self._by_name, self._by_former_name = dict(sorted(by_name.items())), by_former_name
        self._matching.cache_clear()

    def matching(self, event_type: str) -> tuple[Handler, ...]:
        """The handlers that want events of this type, by name."""
        return self._matching(event_type)

    def get(self, name: str) -> Handler | None:
        """The handler that has this name or had it, or None: a retry may name one that is no longer plugged in."""
        return self._by_name.get(name) or self._by_former_name.get(name)

    def event_names(self) -> list[str]:
        """The events that handlers name in full, sorted. What wildcards match is not known here."""
        patterns = {pattern for handler in self for pattern in handler.patterns}
        return sorted(pattern for pattern in patterns if not is_wildcard(pattern))

    @property
    def has_wildcards(self) -> bool:
        """Whether any handler wants events that it does not name in full."""
        return any(is_wildcard(pattern) for handler in self for pattern in handler.patterns)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def _find_matching(self, event_type: str) -> tuple[Handler, ...]:
        return tuple(handler for handler in self if handler.wants(event_type))


def is_wildcard(pattern: str) -> bool:
    """Whether the pattern can match more than the event of its own name."""
    return _WILDCARD in pattern


def matches(pattern: str, event_type: str) -> bool:
    """Whether an event type matches a pattern. `*` stands for any characters, dots included, or for none.

    Case counts, and no other character is special. The time grows with the lengths only: no pattern is slow.
    """
    if not is_wildcard(pattern):
        return pattern == event_type
    head, *middle, tail = pattern.split(_WILDCARD)
    position, end = len(head), len(event_type) - len(tail)
    if position > end or not event_type.startswith(head) or not event_type.endswith(tail):
        return False
    for part in middle:
        found = event_type.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
