"""From an entry of KONVOX_HANDLERS to a module: names, paths, and the error if the import fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.errors import InvalidHandlerError
from handlers.loader import load
from tests.support.loading import TELL, fault, names, only

Write = Callable[[str, str], Path]


@pytest.mark.parametrize("spec", ["mine_alpha.py", " ./mine_alpha.py ", "sub/../mine_alpha.py", "mine_alpha"])
def test_a_file_has_several_names(write: Write, spec: str) -> None:
    """A file can be listed as a path in any spelling, or as a module of the current directory."""
    write("sub/empty.txt", "")
    write("mine_alpha.py", TELL)
    assert names(load([spec], entry_points=False)) == ["mine_alpha.tell"]


def test_the_same_spec_twice_is_loaded_once(write: Write) -> None:
    """A file that is listed again, as path or as module, or loaded later, is executed once."""
    write("mine_alpha.py", TELL + "\nprint('imported')\n")
    specs = ["./mine_alpha.py", "mine_alpha", str(Path("mine_alpha.py").resolve())]
    first = only(load(specs, entry_points=False))
    assert only(load(specs, entry_points=False)).function is first.function


def test_a_module_of_the_current_directory_is_importable(write: Write) -> None:
    """A module of the current directory can be imported, but only behind what is installed."""
    write("my_company/__init__.py", "")
    write("my_company/hooks.py", TELL)
    assert names(load(["my_company.hooks"], entry_points=False)) == ["my_company.hooks.tell"]
    assert sys.path[-1] == str(Path.cwd())


def test_a_file_here_does_not_replace_what_is_installed(write: Write) -> None:
    """A file here does not replace a module of the standard library, which has no handler, as the error says."""
    write("colorsys.py", TELL)
    assert "has no handler" in fault("colorsys").reason


def test_a_file_can_import_its_neighbours(write: Write) -> None:
    """A file can import its neighbours while it is loaded, and later from inside its functions."""
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


def test_a_module_that_does_not_exist(write: Write) -> None:
    """The error about an unknown module names it with the ways out, and has no traceback."""
    error = fault("my_company.hooks")
    assert error.reason.startswith("no module named my_company: check the name")
    assert error.traceback == ""


def test_a_file_in_a_folder_that_is_called_handlers(write: Write) -> None:
    """A folder named `handlers` has the name of our package, so the error says to list the file by its path."""
    write("handlers/mine_alpha.py", TELL)
    assert fault("handlers.mine_alpha").reason.endswith("name the file, ./handlers/mine_alpha.py")
    assert names(load(["./handlers/mine_alpha.py"], entry_points=False)) == ["mine_alpha.tell"]


@pytest.mark.parametrize("spec", ["", "my-company.hooks", "two words", "hooks:tell", ".hooks"])
def test_what_is_neither_module_nor_path(write: Write, spec: str) -> None:
    """The error about an entry that is neither module nor path says what either looks like."""
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
    """A path is refused if it is missing, a folder, or has a name that Python or another module needs."""
    for name in ("folder/inner.py", "my-handlers.py", "colorsys.py", "sys.py", "handlers.py"):
        write(name, TELL)
    error = fault(spec)
    assert expected in error.reason
    assert error.source == spec


def test_two_files_of_one_name_are_refused(write: Write) -> None:
    """Two files of one name are refused, because their handlers would share their names."""
    write("a/mine_alpha.py", TELL)
    write("b/mine_alpha.py", TELL)
    assert "another module is already named mine_alpha" in fault("a/mine_alpha.py", "b/mine_alpha.py").reason


@pytest.mark.parametrize("spec", ["./mine_alpha.py", "mine_alpha"])
def test_a_module_that_fails_shows_the_users_frames_only(write: Write, spec: str) -> None:
    """The traceback of a module that fails has the user's frames only, and the module is forgotten."""
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
    """The error about a missing dependency names that, and not the listed module."""
    write("mine_alpha.py", "import no_such_package_at_all\n")
    error = fault("mine_alpha")
    assert "imports no_such_package_at_all, which is not installed" in error.reason
    assert "line 1" in error.traceback


def test_a_syntax_error_is_shown_with_its_line(write: Write) -> None:
    """A syntax error is shown with its line, as Python shows it."""
    write("mine_alpha.py", "def broken(:\n")
    error = fault("./mine_alpha.py")
    assert "SyntaxError" in error.reason
    assert "def broken(:" in error.traceback


def test_a_module_that_exits_is_a_module_that_fails(write: Write) -> None:
    """A module that calls sys.exit at import is a fault, and does not end the worker without a word."""
    write("mine_alpha.py", "import sys\nsys.exit('usage: ...')\n")
    assert "SystemExit" in fault("./mine_alpha.py").reason


def test_a_wrong_handler_keeps_its_own_message(write: Write) -> None:
    """A wrong use of `@on` keeps its own message, without a traceback around it."""
    write("mine_alpha.py", "from handlers import on\n\n@on()\ndef tell(event, ctx): ...\n")
    with pytest.raises(InvalidHandlerError, match=r"mine_alpha\.py:3: tell: @on\(\) names no event"):
        load(["./mine_alpha.py"], entry_points=False)
