"""For users' own tests: events as the worker would give them, and a context that needs no server.

Users import it as `konvox_hooks.testing`.

```python
async def test_replies_are_logged() -> None:
    ctx = make_context()
    await tell_sales(make_event(ContactReplied, {"subject": "Yes, please"}), ctx)
    assert ctx.logged[0]["event"] == "a reply came"
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

import structlog
from pydantic.alias_generators import to_camel

from handlers.context import Context, OnceGate
from handlers.once import InMemoryOnce
from handlers.run import ThreadRunner, running_loop
from konvox.envelope import event_id, parse_envelope
from konvox.events import (
    EVENT_MODELS,
    EVENT_NAMES,
    ContactReplied,
    EnrollmentCreated,
    EnrollmentUnsubscribed,
    Event,
    plain_event,
    typed_event,
)
from konvox.samples import SAMPLE_COMPANY_ID, sample_body, sample_data

if TYPE_CHECKING:
    import aiohttp
    from structlog.typing import FilteringBoundLogger

    from konvox.client import KonvoxClient

SAMPLE_TIMESTAMP = "2026-05-20T14:32:00.000Z"
"""When an event happened, unless the test says otherwise. It never changes, and so the event's id does not either."""

E = TypeVar("E", bound=Event)


class EventFields(TypedDict, total=False):
    """Further fields of an event that a test makes."""

    company_id: str
    timestamp: datetime | str
    replayed: bool


@overload
def make_event(event: type[E], data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]) -> E: ...
@overload
def make_event(
    event: Literal["contact.replied"], data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]
) -> ContactReplied: ...
@overload
def make_event(
    event: Literal["enrollment.created"], data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]
) -> EnrollmentCreated: ...
@overload
def make_event(
    event: Literal["enrollment.unsubscribed"], data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]
) -> EnrollmentUnsubscribed: ...
@overload
def make_event(event: str, data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]) -> Event: ...


def make_event(event: str | type[Event], data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]) -> Event:
    """An event for a typed handler, of its own class if its type has one.

    Args:
        event: the event's name or class.
        data: the fields that differ from the sample, by Konvox's names (`campaignId`) or ours (`campaign_id`). The
            whole `data` if the type has no class.
        fields: `company_id`, `timestamp` and `replayed`, each with a default.

    Raises:
        EventDoesNotFitError: the data does not fit the class.
        ValueError: it is a class that belongs to no single event, such as `Event`.
    """
    name = EVENT_NAMES.get(event) if isinstance(event, type) else event
    if name is None:
        raise ValueError(f"{event!r} is not a single event: give its name, or one of {', '.join(EVENT_MODELS)}")
    return typed_event(name, **_received(name, data, fields))


def make_plain_event(event_type: str, data: Mapping[str, Any] | None = None, **fields: Unpack[EventFields]) -> Event:
    """An event for a handler that is annotated with `Event`: its `data` is a plain mapping. Arguments as above."""
    return plain_event(**_received(event_type, data, fields))


@dataclass(slots=True, kw_only=True)
class CapturedContext(Context):
    """A context that keeps what the handler logs.

    Attributes:
        logged: a mapping for each line, with `event`, `log_level` and the keywords.
    """

    logged: list[dict[str, Any]] = field(repr=False)


def make_context(
    *,
    konvox: KonvoxClient | Any = None,
    http: aiohttp.ClientSession | Any = None,
    log: FilteringBoundLogger | None = None,
    once: OnceGate | None = None,
    attempt: int = 1,
    state: Any = None,
) -> CapturedContext:
    """A context for a direct call of a handler.

    `ctx.once` is in memory. `ctx.run` works in a plain test; in an async one, call the handler in a thread of its own
    (`await asyncio.to_thread(handler, event, ctx)`), as the worker does. `ctx.logged` has what the handler logged,
    unless `log` is given. A handler that uses `ctx.konvox` or `ctx.http` needs a stand-in of the test's own; without
    one, the error says which to pass.
    """
    capture = structlog.testing.LogCapture()
    capturing_log = structlog.wrap_logger(
        None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
    ).bind()
    return CapturedContext(
        konvox=konvox if konvox is not None else cast(Any, _NotGiven("konvox")),
        http=http if http is not None else cast(Any, _NotGiven("http")),
        log=log if log is not None else capturing_log,
        once=once if once is not None else InMemoryOnce(),
        run=ThreadRunner(running_loop()),
        attempt=attempt,
        state=state,
        logged=cast(list[dict[str, Any]], capture.entries),
    )


class _NotGiven:
    """In the place of what the test did not pass: says so when the handler uses it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        raise AttributeError(f"the handler uses ctx.{self._name}.{attribute}: call make_context({self._name}=…)")


class _Received(TypedDict):
    event_id: str
    raw: bytes
    replayed: bool


def _received(event_type: str, changes: Mapping[str, Any] | None, fields: EventFields) -> _Received:
    body = sample_body(
        event_type,
        data=_wire_data(event_type, changes),
        company_id=fields.get("company_id", SAMPLE_COMPANY_ID),
        timestamp=fields.get("timestamp", SAMPLE_TIMESTAMP),
    )
    return {"event_id": event_id(parse_envelope(body)), "raw": body, "replayed": fields.get("replayed", False)}


def _wire_data(event_type: str, changes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if changes is None:
        return None
    if event_type not in EVENT_MODELS:
        return dict(changes)
    return sample_data(event_type) | {to_camel(name) if "_" in name else name: changes[name] for name in changes}
