"""From names and paths to handlers: what is found, what is refused, and that every refusal says how to fix it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.errors import DuplicateHandlerError, HandlerLoadError, InvalidHandlerError
from handlers.loader import LoadedHandlers, load
from handlers.registry import Handler

Write = Callable[[str, str], Path]

TELL = """
from handlers import Context, on
from konvox.events import ContactReplied


@on("contact.replied", attempts=3, timeout=5, backoff=2, backoff_cap=9)
async def tell(event: ContactReplied, ctx: Context) -> None: ...
"""


def names(loaded: LoadedHandlers) -> list[str]:
    """The names of all handlers."""
    return [handler.name for handler in loaded.registry]


def only(loaded: LoadedHandlers) -> Handler:
    """The one handler that was loaded."""
    (handler,) = loaded.registry
    return handler


def fault(*specs: str) -> HandlerLoadError:
    """The error that loading these ends with."""
    with pytest.raises(HandlerLoadError) as caught:
        load(specs, entry_points=False)
    return caught.value


def test_a_file_is_loaded_with_all_that_on_was_told(write: Write) -> None:
    """Name, source, options and form reach the worker's view of it."""
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


@pytest.mark.parametrize("spec", ["mine_alpha.py", " ./mine_alpha.py ", "sub/../mine_alpha.py", "mine_alpha"])
def test_a_file_has_several_names(write: Write, spec: str) -> None:
    """As a path in any spelling, or as a module of the current directory."""
    write("sub/empty.txt", "")
    write("mine_alpha.py", TELL)
    assert names(load([spec], entry_points=False)) == ["mine_alpha.tell"]


def test_the_same_spec_twice_is_loaded_once(write: Write) -> None:
    """Also as path and as module, and when it is loaded again later."""
    write("mine_alpha.py", TELL + "\nprint('imported')\n")
    specs = ["./mine_alpha.py", "mine_alpha", str(Path("mine_alpha.py").resolve())]
    first = only(load(specs, entry_points=False))
    assert only(load(specs, entry_points=False)).function is first.function


def test_a_module_of_the_current_directory_is_importable(write: Write) -> None:
    """As with `python -m`, but behind what is installed."""
    write("my_company/__init__.py", "")
    write("my_company/hooks.py", TELL)
    assert names(load(["my_company.hooks"], entry_points=False)) == ["my_company.hooks.tell"]
    assert sys.path[-1] == str(Path.cwd())


def test_a_file_here_does_not_replace_what_is_installed(write: Write) -> None:
    """A module of the standard library stays what it is; the error says that it has no handler."""
    write("colorsys.py", TELL)
    assert "has no handler" in fault("colorsys").reason


def test_a_file_can_import_its_neighbours(write: Write) -> None:
    """While it loads, and later from inside its functions."""
    write("deep/neighbour_alpha.py", "EVENTS = ['contact.replied']\n")
    write("deep/neighbour_beta.py", "VALUE = 42\n")
    write(
        "deep/mine_alpha.py",
        """
        from handlers import on
        from neighbour_alpha import EVENTS

        @on(*EVENTS)
        def tell(event, ctx):
            from neighbour_beta import VALUE
            return VALUE
        """,
    )
    before = list(sys.path)
    handler = only(load(["./deep/mine_alpha.py"], entry_points=False))
    assert handler.function(object(), object()) == 42  # type: ignore[arg-type]  # it looks at neither
    assert sys.path[: len(before)] == before


def test_imported_handlers_are_not_enabled(write: Write) -> None:
    """To use a part of another module is no wish to run its handlers."""
    write("mine_alpha.py", TELL)
    write("mine_beta.py", TELL.replace("tell", "sell") + "\nfrom mine_alpha import tell\n")
    assert names(load(["./mine_beta.py"], entry_points=False)) == ["mine_beta.sell"]


def test_a_package_enables_what_its_init_imports_from_below(write: Write) -> None:
    """The package's own modules are its own; the same handler listed twice is one."""
    write("my_company/__init__.py", "from my_company.hooks import tell\n")
    write("my_company/hooks.py", TELL)
    for specs in (["my_company"], ["my_company", "my_company.hooks"], ["my_company.hooks", "my_company"]):
        assert names(load(specs, entry_points=False)) == ["my_company.hooks.tell"]


def test_an_alias_is_the_same_handler(write: Write) -> None:
    """One function, however many names it has in its module."""
    write("mine_alpha.py", TELL + "\nagain = tell\n")
    assert names(load(["mine_alpha"], entry_points=False)) == ["mine_alpha.tell"]


def test_functions_of_one_name_are_refused(write: Write) -> None:
    """A factory makes them; retries could not tell them apart."""
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
    """And yields what becomes ctx.state."""
    write("mine_alpha.py", TELL + LIFESPAN)
    write("mine_beta.py", TELL)
    loaded = load(["mine_alpha", "./mine_beta.py"], entry_points=False)
    assert list(loaded.lifespans) == ["mine_alpha"]
    assert {handler.state_key for handler in loaded.registry} == {"mine_alpha", "mine_beta"}
    async with loaded.lifespans["mine_alpha"]() as state:
        assert state == "state"


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearest_lifespan_counts(write: Write, order: int) -> None:
    """A module's own goes before its package's; neither hangs on the order of the list."""
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
    """Only what was asked for is run."""
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
    """A forgotten decorator shows at once, not as a state that is a generator."""
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
    """Exactly `Event` asks for the plain form, and so does a handler of everything that says nothing."""
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
    """A coroutine that nobody awaits would be an event that nobody handled."""
    write("mine_alpha.py", FORMS + handler)
    assert only(load(["mine_alpha"], entry_points=False)).is_async is is_async


def test_an_annotation_that_contradicts_the_events_is_refused(write: Write) -> None:
    """It would fail on every single event."""
    write("mine_alpha.py", FORMS + "@on('contact.replied')\ndef it(event: EnrollmentCreated, ctx): ...")
    with pytest.raises(InvalidHandlerError, match=r"asks for contact\.replied and takes EnrollmentCreated"):
        load(["mine_alpha"], entry_points=False)


def test_a_module_that_does_not_exist(write: Write) -> None:
    """The name, and two ways out."""
    error = fault("my_company.hooks")
    assert error.reason.startswith("no module named my_company: check the name")
    assert error.traceback == ""


def test_a_file_in_a_folder_that_is_called_handlers(write: Write) -> None:
    """The obvious name of a folder is this package's own, so the message names the way around it."""
    write("handlers/mine_alpha.py", TELL)
    assert fault("handlers.mine_alpha").reason.endswith("name the file, ./handlers/mine_alpha.py")
    assert names(load(["./handlers/mine_alpha.py"], entry_points=False)) == ["mine_alpha.tell"]


@pytest.mark.parametrize("spec", ["", "my-company.hooks", "two words", "hooks:tell", ".hooks"])
def test_what_is_neither_module_nor_path(write: Write, spec: str) -> None:
    """Says what either looks like."""
    assert "nor a path such as ./my_handlers.py" in fault(spec).reason


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("./gone.py", "no such file: paths are taken from"),
        ("./folder", "must end in .py"),
        ("./my-handlers.py", "rename it"),
        ("./colorsys.py", "already named colorsys"),
        ("./sys.py", "already named sys (Python itself)"),
        ("./handlers.py", "already named handlers"),
    ],
)
def test_a_path_that_cannot_be_a_module(write: Write, spec: str, expected: str) -> None:
    """A missing file, a folder, or a name that Python or another module needs."""
    for name in ("folder/inner.py", "my-handlers.py", "colorsys.py", "sys.py", "handlers.py"):
        write(name, TELL)
    error = fault(spec)
    assert expected in error.reason
    assert error.source == spec


def test_two_files_of_one_name_are_refused(write: Write) -> None:
    """Their handlers would share their names."""
    write("a/mine_alpha.py", TELL)
    write("b/mine_alpha.py", TELL)
    assert "another module is already named mine_alpha" in fault("a/mine_alpha.py", "b/mine_alpha.py").reason


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_under_two_names_is_refused(write: Write, order: int) -> None:
    """Each event would be handled twice."""
    write("my_company/__init__.py", "")
    write("my_company/hooks_alpha.py", TELL)
    specs = ["my_company.hooks_alpha", "./my_company/hooks_alpha.py"][::order]
    assert "under another name: list it once" in fault(*specs).reason


@pytest.mark.parametrize("spec", ["./mine_alpha.py", "mine_alpha"])
def test_a_module_that_fails_shows_the_users_frames_only(write: Write, spec: str) -> None:
    """No frames of the loader or of importlib; and the failed module is forgotten."""
    write("mine_alpha.py", "def boom():\n    raise RuntimeError('no database')\n\nboom()\n")
    error = fault(spec)
    lines = error.traceback.splitlines()
    assert "RuntimeError" in error.reason
    assert "mine_alpha.py" in lines[1]
    assert lines[-1] == "RuntimeError: no database"
    assert "importlib" not in error.traceback
    assert "loader.py" not in error.traceback
    assert isinstance(error.__cause__, RuntimeError)
    assert "mine_alpha" not in sys.modules


def test_a_missing_dependency_is_named(write: Write) -> None:
    """It is not the listed module that is missing."""
    write("mine_alpha.py", "import no_such_package_at_all\n")
    error = fault("mine_alpha")
    assert "imports no_such_package_at_all, which is not installed" in error.reason
    assert "line 1" in error.traceback


def test_a_syntax_error_is_shown_with_its_line(write: Write) -> None:
    """As Python shows it."""
    write("mine_alpha.py", "def broken(:\n")
    error = fault("./mine_alpha.py")
    assert "SyntaxError" in error.reason
    assert "def broken(:" in error.traceback


def test_a_module_that_exits_is_a_module_that_fails(write: Write) -> None:
    """A script without a main guard must not end the worker without a word."""
    write("mine_alpha.py", "import sys\nsys.exit('usage: ...')\n")
    assert "SystemExit" in fault("./mine_alpha.py").reason


def test_a_wrong_handler_keeps_its_own_message(write: Write) -> None:
    """What `@on` says is said once, without a traceback around it."""
    write("mine_alpha.py", "from handlers import on\n\n@on()\ndef tell(event, ctx): ...\n")
    with pytest.raises(InvalidHandlerError, match=r"mine_alpha\.py:3: tell: @on\(\) names no event"):
        load(["./mine_alpha.py"], entry_points=False)


def test_a_file_without_a_handler_is_given_one_to_paste(write: Write) -> None:
    """What is pasted works."""
    file = write("mine_alpha.py", "")
    error = fault("./mine_alpha.py")
    assert "has no handler" in error.reason
    file.with_name("mine_beta.py").write_text(error.reason.partition("\n\n")[2])
    assert names(load(["./mine_beta.py"], entry_points=False)) == ["mine_beta.on_contact_replied"]


def test_a_package_without_a_handler_says_where_they_are_looked_for(write: Write) -> None:
    """Its modules are not searched."""
    write("my_company/__init__.py", "")
    write("my_company/hooks.py", TELL)
    assert "list its modules" in fault("my_company").reason


def test_a_module_with_imported_handlers_only_names_their_home(write: Write) -> None:
    """That is what should be listed."""
    write("mine_alpha.py", TELL)
    write("mine_beta.py", "from mine_alpha import tell\n")
    assert "only imports those of mine_alpha" in fault("mine_beta").reason


def install(write: Write, value: str) -> None:
    """Make the current directory hold an installed distribution with one entry point."""
    write("mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    write("mine-1.0.dist-info/entry_points.txt", f"[konvox_hooks.handlers]\nmine = {value}\n")
    sys.path.append(str(Path.cwd()))


def test_installed_entry_points_are_loaded_too(write: Write) -> None:
    """Unless they are not wanted; and one that is listed as well is loaded once."""
    write("mine_alpha.py", TELL)
    install(write, "mine_alpha")
    assert names(load([])) == ["mine_alpha.tell"]
    assert names(load(["mine_alpha"])) == ["mine_alpha.tell"]
    assert names(load([], entry_points=False)) == []


def test_an_entry_point_of_an_object_is_refused(write: Write) -> None:
    """Handlers come by the module."""
    install(write, "mine_alpha:tell")
    with pytest.raises(HandlerLoadError, match="names a module, without a colon"):
        load([])
