"""What `@on` notes down, and what it refuses with which words."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from handlers import Context, on
from handlers.decorator import Mark, mark_of
from handlers.errors import InvalidHandlerError
from konvox.events import ContactReplied, EnrollmentCreated, Event

UNTYPED_ON: Any = on
"""To write what a type checker would refuse: `@on` must refuse it by itself."""


async def handle(event: Event, ctx: Context) -> None:
    """A handler as it should be."""


def fresh() -> Callable[[Event, Context], Any]:
    """A function that no `@on` has seen."""

    async def tell(event: Event, ctx: Context) -> None: ...

    return tell


def marked(function: object) -> Mark:
    """The mark, which must be there."""
    mark = mark_of(function)
    assert mark is not None
    return mark


def test_the_function_stays_what_it_was() -> None:
    """`@on` returns the function itself, which lets users call it in their own tests."""
    function = fresh()
    assert on("contact.replied")(function) is function


def test_defaults_are_the_documented_ones() -> None:
    """By default a handler has 8 attempts, 30 s, a backoff from 1 s to 10 minutes, and no `when`."""
    function = on("contact.replied")(fresh())
    assert marked(function) == Mark(function, ("contact.replied",), None, 8, 30, 1.0, 600.0)


def test_classes_stand_for_their_names() -> None:
    """A class stands for its event's name, `Event` stands for all, and what is named twice counts once."""
    function = on(ContactReplied, "contact.replied", EnrollmentCreated, "enrollment.*", Event)(fresh())
    assert marked(function).patterns == ("contact.replied", "enrollment.created", "enrollment.*", "*")


def test_arguments_are_kept() -> None:
    """Each argument of `@on` is kept in the field with its unit."""

    def when(event: Event) -> bool:
        return event.replayed

    mark = marked(on("*", when=when, attempts=1, timeout=0.5, backoff=0, backoff_cap=0)(fresh()))
    assert (mark.when, mark.attempts, mark.timeout_seconds) == (when, 1, 0.5)
    assert (mark.backoff_base_seconds, mark.backoff_cap_seconds) == (0, 0)


@pytest.mark.parametrize("value", [handle, None, 3, "text", on, Event])
def test_what_is_no_handler_has_no_mark(value: object) -> None:
    """Any value without `@on` has no mark, because the loader asks about everything that a module holds."""
    assert mark_of(value) is None


@pytest.mark.parametrize(
    ("targets", "options", "fault"),
    [
        ((), {}, "names no event"),
        (("",), {}, "'' is no event name"),
        ((" contact.replied",), {}, "is no event name"),
        (("contact.replied,enrollment.created",), {}, "is no event name"),
        ((int,), {}, "no event that Konvox documents"),
        ((type("Mine", (Event,), {}),), {}, "no event that Konvox documents"),
        ((None,), {}, "no event that Konvox documents"),
        (("*",), {"attempts": 0}, "attempts=0"),
        (("*",), {"attempts": True}, "attempts=True"),
        (("*",), {"attempts": 2.5}, "attempts=2.5"),
        (("*",), {"timeout": 0}, "timeout=0"),
        (("*",), {"timeout": float("nan")}, "timeout=nan"),
        (("*",), {"timeout": None}, "timeout=None"),
        (("*",), {"backoff": -1}, "backoff=-1"),
        (("*",), {"backoff": 10, "backoff_cap": 5}, r"backoff_cap=5 is no number from backoff \(10\) up"),
        (("*",), {"backoff_cap": float("inf")}, "backoff_cap=inf"),
        (("*",), {"when": True}, "when=True is not a function"),
        (("*",), {"when": handle}, "when= is async"),
    ],
)
def test_wrong_arguments_are_refused(targets: tuple[Any, ...], options: dict[str, Any], fault: str) -> None:
    """A wrong argument is refused at import, and not when the first event comes."""
    with pytest.raises(InvalidHandlerError, match=fault):
        UNTYPED_ON(*targets, **options)(fresh())


def test_the_message_says_where_and_how_to_fix_it() -> None:
    """The message holds the file and line, the function, the fault and a hint."""
    function = fresh()
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(InvalidHandlerError) as caught:
        UNTYPED_ON(int)(function)
    assert str(caught.value) == (
        f"{__file__}:{line}: fresh.<locals>.tell: {int!r} is no event that Konvox documents; "
        "give an event's name or one of ContactReplied, EnrollmentCreated, EnrollmentUnsubscribed, Event"
    )


def no_parameters() -> None:
    """Takes nothing."""


def only_event(event: Event) -> None:
    """Takes no context."""


def one_too_many(event: Event, ctx: Context, more: int = 1) -> None:
    """Takes three."""


def any_number(*args: Any, **kwargs: Any) -> None:
    """Takes any arguments."""


def keywords_only(*, event: Event, ctx: Context) -> None:
    """Cannot be called by position."""


async def async_generator(event: Event, ctx: Context) -> AsyncIterator[int]:
    """Runs nothing when it is called."""
    yield 1


def generator(event: Event, ctx: Context) -> Iterator[int]:
    """Runs nothing when it is called."""
    yield 1


class Handlers:
    """A class with what would be a handler outside of it."""

    @staticmethod
    def tell(event: Event, ctx: Context) -> None:
        """A function of the right shape in the wrong place."""


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (no_parameters, r"it takes \(\) -> 'None', not exactly \(event, ctx\)"),
        (only_event, "not exactly"),
        (one_too_many, "not exactly"),
        (any_number, "not exactly"),
        (keywords_only, "not exactly"),
        (async_generator, "has a yield"),
        (generator, "has a yield"),
        (lambda _event, _ctx: None, "a lambda has no name"),
        (Handlers, "above a type, which is not a function"),
        (functools.partial(handle), "above a partial, which is not a function"),
        (staticmethod(handle), "above a staticmethod"),
        (Handlers.tell, "it stands in a class"),
    ],
)
def test_what_cannot_be_a_handler_is_refused(function: Any, fault: str) -> None:
    """A function that would never be found, or would run nothing when it is called, is refused."""
    with pytest.raises(InvalidHandlerError, match=fault):
        on("*")(function)


def test_on_without_its_parentheses_is_refused() -> None:
    """`@on` without its parentheses is refused, because the function would silently be no handler."""
    with pytest.raises(InvalidHandlerError, match="stands without its events"):
        UNTYPED_ON(handle)


def test_on_stands_above_a_function_once() -> None:
    """A second `@on` above one function is refused, because the two could differ in attempts and timeout."""
    with pytest.raises(InvalidHandlerError, match="give a single @on all its events"):
        on("a")(on("b")(fresh()))


def test_positional_only_parameters_are_fine() -> None:
    """A handler may have positional-only parameters, because the worker calls it by position."""

    async def tell(event: Event, ctx: Context, /) -> None: ...

    assert marked(on("*")(tell)).function is tell


def test_a_wrapper_is_judged_by_what_it_wraps() -> None:
    """A decorator below `@on` is accepted if it uses functools.wraps."""
    function = fresh()

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    assert marked(on("*")(wrapper)).function is wrapper


def test_a_decorator_above_on_is_refused_when_it_is_collected() -> None:
    """A decorator above `@on` is refused, because it would be unclear whether the worker runs it."""
    function = on("*")(fresh())

    @functools.wraps(function)
    async def wrapper(event: Event, ctx: Context) -> None: ...

    with pytest.raises(InvalidHandlerError, match="put @on on top"):
        mark_of(wrapper)


SHADOWED = """
from handlers import on

@on("contact.replied")
async def handle(event, ctx): ...

@on("enrollment.created")
async def handle(event, ctx): ...
"""


def test_a_handler_that_takes_anothers_place_is_refused() -> None:
    """Two handlers of one name are refused, because the first would be lost without a word."""
    code = compile(SHADOWED, "mine.py", "exec")
    with pytest.raises(InvalidHandlerError, match=r"mine\.py:7: handle: .*same name \(mine\.py:4\)"):
        exec(code, {"__name__": "mine"})


def test_a_module_can_be_executed_again() -> None:
    """A module can be executed again in the same namespace, as importlib.reload does."""
    code = compile(SHADOWED.rpartition("@on")[0], "mine.py", "exec")
    namespace: dict[str, Any] = {"__name__": "mine"}
    exec(code, namespace)
    exec(code, namespace)
    assert marked(namespace["handle"]).patterns == ("contact.replied",)
