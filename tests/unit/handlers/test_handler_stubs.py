"""The handler to paste: it works as it stands, whatever the event is called."""

from __future__ import annotations

from types import FunctionType
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.decorator import mark_of
from handlers.registry import matches
from handlers.stubs import handler_stub
from konvox.events import EVENT_MODELS, Event


def pasted(source: str) -> FunctionType:
    """The handler that the source defines."""
    namespace: dict[str, Any] = {"__name__": "pasted"}
    exec(source, namespace)
    (function,) = [value for value in namespace.values() if isinstance(value, FunctionType) and mark_of(value)]
    return function


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text().filter(str.strip))
def test_any_event_gets_a_handler_that_wants_it(event_type: str) -> None:
    """The stub for any name is valid Python and wants that event, because a name cannot break out of its quotes."""
    mark = mark_of(pasted(handler_stub(event_type)))
    assert mark is not None
    assert any(matches(pattern, event_type) for pattern in mark.patterns)
    assert mark.when is None or mark.when(Event(type=event_type))


@pytest.mark.parametrize("event_type", sorted(EVENT_MODELS))
def test_documented_events_get_their_class(event_type: str) -> None:
    """The stub for a documented event is annotated with its class, so the editor knows the fields."""
    function = pasted(handler_stub(event_type))
    assert get_type_hints(function)["event"] is EVENT_MODELS[event_type]


def test_the_stub_reads_as_users_write_it() -> None:
    """The stub for an undocumented event is, word for word, what a user would write."""
    assert handler_stub("contact.bounced") == (
        "from konvox_hooks import Context, on\n"
        "from konvox_hooks.events import Event\n"
        "\n"
        "\n"
        '@on("contact.bounced")\n'
        "async def on_contact_bounced(event: Event, ctx: Context) -> None:\n"
        '    ctx.log.info("it came", event_id=event.id, data=event.data)\n'
    )


def test_a_name_with_a_star_is_asked_for_exactly() -> None:
    """The stub for a name with a star wants that name only, although a star is a wildcard in `@on`."""
    mark = mark_of(pasted(handler_stub("odd.*")))
    assert mark is not None
    assert mark.when is not None
    assert not mark.when(Event(type="odd.other"))
