"""The names of handlers: their own, those that they had before, and that no two handlers can be mixed up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from handlers import on
from handlers.decorator import mark_of
from handlers.errors import DuplicateHandlerError, HandlerError, InvalidHandlerError
from handlers.loader import load

Write = Callable[[str, str], Path]

TWO = """
from handlers import on


@on("contact.replied", {first})
async def tell(event, ctx): ...


@on("contact.replied", {second})
async def ask(event, ctx): ...
"""


def loaded(write: Write, module: str, first: str, second: str = "") -> Any:
    """The registry with two handlers that have these arguments."""
    write(f"{module}.py", TWO.format(first=first, second=second))
    return load([f"./{module}.py"], entry_points=False).registry


def test_a_handler_is_found_by_all_names_that_it_had(write: Write) -> None:
    """By its own name, and by each of the former ones, of which there may be several."""
    registry = loaded(write, "names_a", 'name="crm.tell", was=["names_a.tell", "old.tell"]', 'was="names_a.question"')
    assert [handler.name for handler in registry] == ["crm.tell", "names_a.ask"]
    for name in ("crm.tell", "names_a.tell", "old.tell"):
        assert registry.get(name).name == "crm.tell"
    assert registry.get("names_a.question").name == "names_a.ask"
    assert registry.get("old") is None


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ('name="a"', 'name="a"', "two handlers are named a"),
        ('name="a", was="b"', 'name="b", was="a"', "is the name of a handler"),
        ('name="a", was="b"', 'name="b"', "b is the name of a handler"),
        ('was="old"', 'was=["older", "old"]', "old is in the was= of two handlers"),
    ],
)
def test_no_name_belongs_to_two_handlers(write: Write, first: str, second: str, message: str) -> None:
    """Duplicates and cycles are refused at the start, with the places of both handlers."""
    module = f"names_b{abs(hash((first, second)))}"
    with pytest.raises(DuplicateHandlerError, match=message) as caught:
        loaded(write, module, first, second)
    assert caught.value.exit_code == 2
    assert all(f"{module}.py:{line}" in str(caught.value) for line in (4, 8))


def test_a_handler_cannot_have_been_itself(write: Write) -> None:
    """Also where its name is that of its function."""
    with pytest.raises(HandlerError, match=r"names_c\.tell is the name of a handler"):
        loaded(write, "names_c", 'was="names_c.tell"')


BAD_NAMES = ["", " ", "a b", "a\nb", ".open", "x" * 201, 5, b"a", "\x1b[2J"]


@pytest.mark.parametrize("bad", BAD_NAMES, ids=repr)
@pytest.mark.parametrize("key", ["name", "was", "list"])
def test_what_is_no_name_is_refused(key: str, bad: Any) -> None:
    """A name becomes a part of ids, so it is one printable word; the message says where and how to fix it."""
    arguments: dict[str, Any] = {"was": [bad]} if key == "list" else {key: bad}
    with pytest.raises(InvalidHandlerError, match="name") as caught:
        _marked(**arguments)
    assert __file__ in str(caught.value)


def test_a_former_name_that_is_the_present_one_is_refused() -> None:
    """It says nothing, and is most likely a slip."""
    with pytest.raises(InvalidHandlerError, match="the name that it has now"):
        _marked(name="a", was="a")


@pytest.mark.parametrize(("retry_for", "seconds"), [(60, 60.0), (0, 0.0), (timedelta(hours=2), 7200.0)])
def test_retry_for_is_a_time(retry_for: Any, seconds: float) -> None:
    """In seconds or as a timedelta; a day where nothing is said."""
    assert _marked(retry_for=retry_for) == seconds
    assert _marked() == 86_400.0


@pytest.mark.parametrize("retry_for", [-1, timedelta(seconds=-1), float("nan"), float("inf"), "1h", None, True])
def test_what_is_no_time_is_refused(retry_for: Any) -> None:
    """What cannot work is refused when the module is imported."""
    with pytest.raises(InvalidHandlerError, match="retry_for"):
        _marked(retry_for=retry_for)


def _marked(**arguments: Any) -> float:
    @on("contact.replied", **arguments)
    async def tell(event: Any, ctx: Any) -> None: ...

    mark = mark_of(tell)
    assert mark is not None
    return mark.retry_for_seconds
