"""From modules to handlers: what is found, what is refused, and that every refusal says how to fix it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.errors import DuplicateHandlerError, HandlerLoadError, InvalidHandlerError
from handlers.loader import load
from handlers.registry import Handler
from tests.support.loading import TELL, fault, names, only

Write = Callable[[str, str], Path]


def test_a_file_is_loaded_with_all_arguments_of_on(write: Write) -> None:
    """A loaded handler has its name, source and form, and all options of its `@on`."""
    file = write("mine_alpha.py", TELL)
    handler = only(load(["./mine_alpha.py"], entry_points=False))
    assert handler == Handler(
        name="mine_alpha.tell",
        function=sys.modules["mine_alpha"].tell,
        patterns=("contact.replied",),
        state_key="mine_alpha",
        source=f"{file}:5",
        is_async=True,
        takes_plain_event=False,
        when=None,
        attempts=3,
        timeout_seconds=5,
        backoff_base_seconds=2,
        backoff_cap_seconds=9,
    )


def test_imported_handlers_are_not_enabled(write: Write) -> None:
    """A handler that a module imports from another one is not enabled."""
    write("mine_alpha.py", TELL)
    write("mine_beta.py", TELL.replace("tell", "sell") + "\nfrom mine_alpha import tell\n")
    assert names(load(["./mine_beta.py"], entry_points=False)) == ["mine_beta.sell"]


def test_a_package_enables_what_its_init_imports_from_below(write: Write) -> None:
    """A package enables what its `__init__` imports from its own modules, each handler once."""
    write("my_company/__init__.py", "from my_company.hooks import tell\n")
    write("my_company/hooks.py", TELL)
    for specs in (["my_company"], ["my_company", "my_company.hooks"], ["my_company.hooks", "my_company"]):
        assert names(load(specs, entry_points=False)) == ["my_company.hooks.tell"]


def test_an_alias_is_the_same_handler(write: Write) -> None:
    """A function with two names in its module is one handler."""
    write("mine_alpha.py", TELL + "\nagain = tell\n")
    assert names(load(["mine_alpha"], entry_points=False)) == ["mine_alpha.tell"]


def test_functions_of_one_name_are_refused(write: Write) -> None:
    """Two functions of one name, as a factory makes them, are refused: retries could not tell them apart."""
    write(
        "mine_alpha.py",
        """
        from handlers import on

        def make(name):
            @on(name)
            async def tell(event, ctx): ...
            return tell

        one, two = make("a"), make("b")
        """,
    )
    with pytest.raises(DuplicateHandlerError, match=r"mine_alpha\.tell"):
        load(["mine_alpha"], entry_points=False)


LIFESPAN = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def lifespan():
    yield "state"
"""


async def test_a_lifespan_is_recorded_under_its_module(write: Write) -> None:
    """A module's lifespan is recorded under the module's name, and yields what becomes `ctx.state`."""
    write("mine_alpha.py", TELL + LIFESPAN)
    write("mine_beta.py", TELL)
    loaded = load(["mine_alpha", "./mine_beta.py"], entry_points=False)
    assert list(loaded.lifespans) == ["mine_alpha"]
    assert {handler.state_key for handler in loaded.registry} == {"mine_alpha", "mine_beta"}
    async with loaded.lifespans["mine_alpha"]() as state:
        assert state == "state"


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearest_lifespan_counts(write: Write, order: int) -> None:
    """A module's own lifespan goes before its package's, in any order of the list."""
    write("my_company/__init__.py", "from my_company import crm, chat\nfrom my_company.crm import *\n" + LIFESPAN)
    write("my_company/crm.py", TELL + "\n__all__ = ['tell']\n")
    write("my_company/chat.py", TELL + LIFESPAN)
    loaded = load(["my_company", "my_company.chat"][::order], entry_points=False)
    assert {handler.name: handler.state_key for handler in loaded.registry} == {
        "my_company.chat.tell": "my_company.chat",
        "my_company.crm.tell": "my_company",
    }
    assert set(loaded.lifespans) == {"my_company", "my_company.chat"}


def test_a_package_that_is_not_listed_lends_no_lifespan(write: Write) -> None:
    """The lifespan of a package that is not listed is not run for a module of that package."""
    write("my_company/__init__.py", LIFESPAN)
    write("my_company/crm.py", TELL)
    loaded = load(["my_company.crm"], entry_points=False)
    assert (only(loaded).state_key, dict(loaded.lifespans)) == ("my_company.crm", {})


@pytest.mark.parametrize(
    ("lifespan", "expected"),
    [
        ("async def lifespan():\n    yield 1\n", "not an async context manager"),
        ("async def lifespan():\n    return 1\n", "not an async context manager"),
        ("lifespan = 3\n", "not an async context manager"),
        (LIFESPAN.replace("lifespan()", "lifespan(app)"), "takes arguments"),
    ],
)
def test_what_is_no_lifespan_is_refused(write: Write, lifespan: str, expected: str) -> None:
    """A lifespan that is no async context manager, or takes arguments, is refused with the missing decorator."""
    write("mine_alpha.py", TELL + lifespan)
    error = fault("mine_alpha")
    assert expected in error.reason
    assert "@asynccontextmanager" in error.reason


FORMS = """
import functools
from typing import TYPE_CHECKING, Any
from handlers import Context, on
from konvox.events import ContactReplied, EnrollmentCreated, Event
if TYPE_CHECKING:
    import konvox.events
    from konvox.events import Event as Unresolved
    Nothing = int

def passing_on(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper
"""


@pytest.mark.parametrize(
    ("handler", "plain"),
    [
        ("@on('contact.replied')\ndef it(event: Event, ctx: Context): ...", True),
        ("@on('contact.replied')\ndef it(event: 'Event', ctx: 'Unresolved'): ...", True),
        ("@on('contact.replied')\ndef it(event: 'konvox.events.Event', ctx): ...", True),
        ("@on('contact.replied')\ndef it(event: ContactReplied, ctx: Context): ...", False),
        ("@on('contact.replied')\ndef it(event: 'Nothing', ctx): ...", False),
        ("@on('contact.replied')\ndef it(event: Any, ctx): ...", False),
        ("@on('contact.replied')\ndef it(event, ctx): ...", False),
        ("@on('contact.replied', 'x')\ndef it(event: ContactReplied | EnrollmentCreated, ctx): ...", False),
        ("@on('*')\ndef it(event, ctx): ...", True),
        ("@on(Event)\ndef it(event: Any, ctx): ...", True),
        ("@on('*', when=lambda event: True)\ndef it(event: ContactReplied, ctx): ...", False),
        ("@on('contact.*')\n@passing_on\ndef it(event: Event, ctx): ...", True),
        ("@on('contact.*', '*')\ndef it(event, ctx): ...", False),
    ],
)
def test_the_annotation_decides_on_the_form(write: Write, handler: str, plain: bool) -> None:
    """A handler takes the plain form if it is annotated with `Event`, or takes all events without an annotation."""
    write("mine_alpha.py", FORMS + handler)
    assert only(load(["mine_alpha"], entry_points=False)).takes_plain_event is plain


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        ("@on('*')\nasync def it(event, ctx): ...", True),
        ("@on('*')\ndef it(event, ctx): ...", False),
        ("@on('*')\n@passing_on\nasync def it(event, ctx): ...", True),
        ("@on('*')\n@passing_on\ndef it(event, ctx): ...", False),
    ],
)
def test_async_functions_are_known_through_wrappers(write: Write, handler: str, is_async: bool) -> None:
    """An async handler is recognised through a wrapper, because nobody would await it otherwise."""
    write("mine_alpha.py", FORMS + handler)
    assert only(load(["mine_alpha"], entry_points=False)).is_async is is_async


def test_an_annotation_that_contradicts_the_events_is_refused(write: Write) -> None:
    """An annotation that contradicts the handler's events is refused, because it would fail on every event."""
    write("mine_alpha.py", FORMS + "@on('contact.replied')\ndef it(event: EnrollmentCreated, ctx): ...")
    with pytest.raises(InvalidHandlerError, match=r"asks for contact\.replied and takes EnrollmentCreated"):
        load(["mine_alpha"], entry_points=False)


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_under_two_names_is_refused(write: Write, order: int) -> None:
    """A file that is listed under two names is refused, because each event would be handled twice."""
    write("my_company/__init__.py", "")
    write("my_company/hooks_alpha.py", TELL)
    specs = ["my_company.hooks_alpha", "./my_company/hooks_alpha.py"][::order]
    assert "under another name: list it once" in fault(*specs).reason


def test_a_file_without_a_handler_is_given_one_to_paste(write: Write) -> None:
    """The error about a file without a handler holds one to paste, which works."""
    file = write("mine_alpha.py", "")
    error = fault("./mine_alpha.py")
    assert "has no handler" in error.reason
    file.with_name("mine_beta.py").write_text(error.reason.partition("\n\n")[2])
    assert names(load(["./mine_beta.py"], entry_points=False)) == ["mine_beta.on_contact_replied"]


def test_a_package_without_a_handler_says_where_they_are_looked_for(write: Write) -> None:
    """The error about a package without handlers says to list its modules, which are not searched."""
    write("my_company/__init__.py", "")
    write("my_company/hooks.py", TELL)
    assert "list its modules" in fault("my_company").reason


def test_a_module_with_imported_handlers_only_names_their_home(write: Write) -> None:
    """The error about a module that only imports handlers names the module to list."""
    write("mine_alpha.py", TELL)
    write("mine_beta.py", "from mine_alpha import tell\n")
    assert "only imports those of mine_alpha" in fault("mine_beta").reason


def install(write: Write, value: str) -> None:
    """Make the current directory hold an installed distribution with one entry point."""
    write("mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    write("mine-1.0.dist-info/entry_points.txt", f"[konvox_hooks.handlers]\nmine = {value}\n")
    sys.path.append(str(Path.cwd()))


def test_installed_entry_points_are_loaded_too(write: Write) -> None:
    """Installed entry points are loaded unless they are switched off, and one that is also listed is loaded once."""
    write("mine_alpha.py", TELL)
    install(write, "mine_alpha")
    assert names(load([])) == ["mine_alpha.tell"]
    assert names(load(["mine_alpha"])) == ["mine_alpha.tell"]
    assert names(load([], entry_points=False)) == []


def test_an_entry_point_of_an_object_is_refused(write: Write) -> None:
    """An entry point that names an object is refused, because handlers are loaded by the module."""
    install(write, "mine_alpha:tell")
    with pytest.raises(HandlerLoadError, match="names a module, without a colon"):
        load([])
