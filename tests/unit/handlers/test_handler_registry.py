"""Who wants which event, and that no two handlers can be mixed up."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.context import Context
from handlers.errors import DuplicateHandlerError
from handlers.registry import Handler, Registry, is_wildcard, matches
from konvox.events import Event

PATTERNS = st.text(alphabet="ab.*", max_size=8)
PRINTABLE = string.printable
EVENT_TYPES = st.text(alphabet="ab.", max_size=10)


async def nothing(event: Event, ctx: Context) -> None:
    """A handler that does nothing."""


def handler(name: str, *patterns: str) -> Handler:
    """A handler of these patterns."""
    return Handler(
        name=name,
        function=nothing,
        patterns=patterns,
        state_key="hooks",
        source=f"{name}.py:1",
        is_async=True,
    )


@settings(deadline=None)
@given(PATTERNS, EVENT_TYPES)
def test_wildcards_match_like_a_regular_expression(pattern: str, event_type: str) -> None:
    """A pattern matches what the regex matches in which each `*` is `.*`."""
    expected = re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), event_type, re.DOTALL) is not None
    assert matches(pattern, event_type) is expected


@settings(deadline=None)
@given(st.lists(EVENT_TYPES, min_size=1, max_size=5), st.data())
def test_a_type_made_by_filling_the_wildcards_matches(parts: list[str], data: st.DataObject) -> None:
    """Any text in the place of each `*` makes a type that the pattern matches."""
    fillings = [data.draw(EVENT_TYPES) for _ in parts[1:]]
    filled = parts[0] + "".join(filling + part for filling, part in zip(fillings, parts[1:], strict=True))
    assert matches("*".join(parts), filled)


@settings(deadline=None)
@given(st.text(alphabet=PRINTABLE.replace("*", "")), st.text(alphabet=PRINTABLE))
def test_without_a_star_only_the_name_itself_matches(pattern: str, event_type: str) -> None:
    """A pattern without a star matches only itself: `?`, `[` and `.` are characters like any other."""
    assert not is_wildcard(pattern)
    assert matches(pattern, pattern)
    assert matches(pattern, event_type) is (pattern == event_type)


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("enrollment.*", "enrollment.created", True),
        ("enrollment.*", "enrollment.step.sent", True),
        ("enrollment.*", "enrollment", False),
        ("enrollment.*", "contact.replied", False),
        ("*.replied", "contact.replied", True),
        ("Contact.*", "contact.replied", False),
        ("*", "", True),
        ("a*a", "a", False),
    ],
)
def test_wildcards_by_example(pattern: str, event_type: str, expected: bool) -> None:
    """Matching is case-sensitive, and the text before a star and the text after it may not overlap."""
    assert matches(pattern, event_type) is expected


def test_many_stars_cost_no_time() -> None:
    """A pattern with many stars is matched at once, where a regex would not end before the test's time limit."""
    assert not matches("*a" * 40 + "b", "a" * 20_000)


def test_a_handler_wants_what_any_of_its_patterns_matches() -> None:
    """A handler wants an event as soon as one of its patterns matches."""
    both = handler("both", "contact.replied", "enrollment.*")
    assert [both.wants(name) for name in ("contact.replied", "enrollment.created", "contact.bounced")] == [
        True,
        True,
        False,
    ]


def test_matching_is_sorted_by_name_and_complete() -> None:
    """All handlers that match are found in the order of their names, whatever order they were loaded in."""
    registry = Registry([handler("c", "*"), handler("a", "contact.replied"), handler("b", "enrollment.*")])
    assert [found.name for found in registry.matching("contact.replied")] == ["a", "c"]
    assert [found.name for found in registry.matching("something.new")] == ["c"]
    assert [found.name for found in registry] == ["a", "b", "c"]
    assert len(registry) == 3


def test_matching_knows_handlers_that_are_added_later() -> None:
    """A handler that is added later is found for types that were looked up before."""
    registry = Registry()
    assert registry.matching("contact.replied") == ()
    registry.add_all([handler("late", "contact.*")])
    assert [found.name for found in registry.matching("contact.replied")] == ["late"]
    assert registry.matching("contact.replied") is registry.matching("contact.replied")


@pytest.mark.parametrize("names", [("new", "taken"), ("new", "new")])
def test_a_duplicate_adds_nothing_at_all(names: tuple[str, ...]) -> None:
    """If one of several handlers has a name that is taken, none of them is added."""
    registry = Registry([handler("taken", "*")])
    with pytest.raises(DuplicateHandlerError) as caught:
        registry.add_all([handler(name, "*") for name in names])
    assert caught.value.name == names[1]
    assert [found.name for found in registry] == ["taken"]


def test_get_finds_by_name_or_says_none() -> None:
    """`get` finds a handler by its name, or returns None, as a retry may name one that is gone."""
    registry = Registry([handler("here", "*")])
    here = registry.get("here")
    assert here is not None
    assert here.name == "here"
    assert registry.get("gone") is None


def test_event_names_leave_out_the_wildcards() -> None:
    """`event_names` lists the exact names, for which webhooks are registered, but no wildcards."""
    registry = Registry([handler("a", "enrollment.created", "contact.*"), handler("b", "contact.replied", "*")])
    assert registry.event_names() == ["contact.replied", "enrollment.created"]
    assert registry.has_wildcards
    assert not Registry([handler("a", "contact.replied")]).has_wildcards
