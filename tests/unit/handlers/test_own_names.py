"""A user's own `worker.py` beside the handlers: theirs for them, ours for everybody else."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import broker
import worker
from handlers.errors import HandlerLoadError
from handlers.loader import load
from handlers.own_names import INTERNAL_PACKAGES

Write = Callable[[str, str], Path]

PROJECT = Path(__file__).parents[3]

HANDLER = """
import worker
from handlers import on
from worker import start_sync

@on("*")
def tell(event, ctx):
    from worker import start_sync as later
    return start_sync(), later(), worker.start_sync()
"""

WORKER = "def start_sync():\n    return {!r}\n"


def told(*specs: str) -> list[Any]:
    """Load handlers; returns what each returns when it is called, in the order of their names."""
    return [handler.function(object(), object()) for handler in load(specs, entry_points=False).registry]  # type: ignore[arg-type]  # they look at neither


def test_every_package_that_users_do_not_import_is_listed() -> None:
    """A package that is added to the project is internal, unless it is one of the three that users import."""
    wheel = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"]} - {"handlers", "konvox", "konvox_hooks"} == set(INTERNAL_PACKAGES)


@pytest.mark.parametrize("spec", ["./mine_alpha.py", "mine_alpha"])
def test_a_handler_imports_the_worker_beside_it(write: Write, spec: str) -> None:
    """A handler imports the worker.py beside it, at the top or in a function, and our package stays what it was."""
    write("mine_alpha.py", HANDLER)
    write("worker.py", WORKER.format("mine"))
    ours = dict(sys.modules)
    assert told(spec) == [("mine", "mine", "mine")]
    assert sys.modules["worker"] is ours["worker"] is worker
    assert not hasattr(worker, "start_sync")


def test_neighbours_and_packages_import_it_as_well(write: Write) -> None:
    """Every module of the folder means the same file, which is executed once."""
    write(
        "mine_alpha.py",
        "from handlers import on\nimport pack_alpha.part\n\n@on('*')\ndef tell(event, ctx):\n"
        "    return pack_alpha.part.marks\n",
    )
    write("pack_alpha/__init__.py", "")
    write("pack_alpha/part.py", "import worker, near_alpha\nmarks = worker.marks\n")
    write("near_alpha.py", "import worker\nworker.marks.append('near')\n")
    write("worker.py", "marks = ['executed']\n")
    assert told("./mine_alpha.py") == [["executed", "near"]]


def test_a_package_of_that_name_has_its_modules(write: Write) -> None:
    """A user's package of that name works with dotted, submodule and relative imports."""
    write(
        "mine_alpha.py",
        """
        import worker.deep.sync
        import worker.jobs as jobs
        from handlers import on
        from worker import deep
        from worker.deep.sync import NAME

        @on("*")
        def tell(event, ctx):
            return NAME, worker.deep.sync.NAME, deep.sync.NAME, jobs.NAME
        """,
    )
    write("worker/__init__.py", "from .jobs import NAME\n")
    write("worker/jobs.py", "from worker.deep import sync\nNAME = 'jobs of ' + sync.NAME\n")
    write("worker/deep/__init__.py", "")
    write("worker/deep/sync.py", "from .name import NAME\n")
    write("worker/deep/name.py", "NAME = 'deep'\n")
    assert told("./mine_alpha.py") == [("deep", "deep", "deep", "jobs of deep")]


def test_each_folder_has_its_own(write: Write) -> None:
    """Handlers in two folders import two modules by one name; elsewhere the working directory's is imported."""
    write("a/mine_alpha.py", HANDLER)
    write("a/worker.py", WORKER.format("of a"))
    write("b/mine_beta.py", HANDLER)
    write("b/worker.py", WORKER.format("of b"))
    write("c/mine_gamma.py", HANDLER)
    write("worker.py", WORKER.format("of here"))
    specs = ("./a/mine_alpha.py", "./b/mine_beta.py", "./c/mine_gamma.py")
    assert told(*specs) == [("of a",) * 3, ("of b",) * 3, ("of here",) * 3]


def test_without_such_a_file_the_name_is_ours(write: Write) -> None:
    """A folder that has a worker.py but no broker.py gets our broker, which is not executed twice."""
    write(
        "mine_alpha.py",
        "import broker, builtins\nfrom handlers import on\n\n@on('*')\ndef tell(event, ctx):\n    return broker\n",
    )
    write("worker.py", "")
    assert told("./mine_alpha.py") == [broker]


def test_a_folder_without_such_a_file_is_imported_as_usual(write: Write) -> None:
    """A folder without a file of our names is imported with the usual `__import__`."""
    write("mine_alpha.py", "from handlers import on\n\n@on('*')\ndef tell(event, ctx):\n    return __import__\n")
    assert told("./mine_alpha.py") == [__import__]


def test_an_environment_in_the_folder_is_not_the_users(write: Write) -> None:
    """Packages that are installed below the folder import what is installed."""
    installed = write(".venv/site-packages/lib_alpha/__init__.py", "from lib_alpha import inner\n")
    write(".venv/site-packages/lib_alpha/inner.py", "import worker\n")
    sys.path.append(str(installed.parents[1]))
    write(
        "mine_alpha.py",
        "import lib_alpha\nfrom handlers import on\n\n@on('*')\ndef tell(event, ctx):\n"
        "    return lib_alpha.inner.worker\n",
    )
    write("worker.py", "")
    assert told("./mine_alpha.py") == [worker]


def test_our_own_checkout_has_no_other_worker(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project's own folder `worker` is our package, and is not imported once more."""
    write(
        "mine_alpha.py",
        "import worker\nfrom handlers import on\n\n@on('*')\ndef tell(event, ctx):\n    return worker\n",
    )
    file = Path("mine_alpha.py").resolve()
    monkeypatch.chdir(PROJECT)
    assert told(str(file)) == [worker]


@pytest.mark.parametrize("name", ["handlers", "konvox", "konvox_hooks", "redis", "colorsys"])
def test_what_users_import_stays_what_it_is(write: Write, name: str) -> None:
    """No file of the user's replaces our public packages, an installed package or the standard library."""
    write(
        "mine_alpha.py",
        f"import {name}\nfrom handlers import on\n\n@on('*')\ndef tell(event, ctx):\n    return {name}.__file__\n",
    )
    write(f"{name}.py", "raise RuntimeError('executed')\n")
    write("worker.py", "")
    [file] = told("./mine_alpha.py")
    assert not file.startswith(str(Path.cwd()))


def test_a_fault_in_it_is_shown_as_the_users(write: Write) -> None:
    """The traceback begins in the user's own file, and leads to the line at fault."""
    write("mine_alpha.py", HANDLER)
    write("worker.py", "def start_sync(): ...\n\n1 / 0\n")
    with pytest.raises(HandlerLoadError) as caught:
        load(["./mine_alpha.py"], entry_points=False)
    lines = caught.value.traceback.splitlines()
    assert "mine_alpha.py" in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert [line for line in lines if "worker.py" in line and "line 3" in line]


def test_messages_have_the_name_that_the_user_wrote(write: Write) -> None:
    """A message has the module's name as the user wrote it, and not our alias."""
    write("mine_alpha.py", "from handlers import on\nimport worker.missing\n")
    write("mine_beta.py", "from worker import tell\n")
    write("worker/__init__.py", "from handlers import on\n\n@on('*')\ndef tell(event, ctx): ...\n")
    for spec, reason in (
        ("mine_alpha", "it imports worker.missing, which"),
        ("mine_beta", "only imports those of worker:"),
    ):
        with pytest.raises(HandlerLoadError) as caught:
            load([spec], entry_points=False)
        assert reason in caught.value.reason


def test_neighbours_come_before_those_of_other_folders(write: Write) -> None:
    """A file's own folder is searched before the working directory, and after what is installed."""
    write(
        "deep/mine_alpha.py",
        "from handlers import on\nimport near_beta\n\n@on('*')\ndef tell(event, ctx):\n    return near_beta.PLACE\n",
    )
    write("deep/near_beta.py", "PLACE = 'deep'\n")
    write("near_beta.py", "PLACE = 'here'\n")
    assert told("./deep/mine_alpha.py") == ["deep"]
