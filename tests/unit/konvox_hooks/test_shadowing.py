"""Where a file of the user's hides a package of ours, one sentence says so; where it hides nothing, all works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from konvox_hooks.errors import HiddenPackageError
from konvox_hooks.shadowing import HANDLERS_NEED, ONLY_COMMANDS_NEED, check_visible, hiding_files

PROJECT = Path(__file__).parents[3]

RAISES = "raise RuntimeError('executed')\n"

FACE = "import konvox_hooks"
EVENTS = "from konvox_hooks.events import Event"
ALL_THAT_HANDLERS_NEED = (
    "from konvox_hooks import Context, Drop, Retry, on\nfrom konvox_hooks.events import Event\n"
    "from konvox_hooks.testing import make_context, make_event\n"
)


def write(folder: Path, name: str, source: str = RAISES) -> Path:
    """Write a file of the user's."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return file


def run(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, which is then first on its path."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KONVOX_", "PYTHONPATH"))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["handlers.py", "handlers/__init__.py", "konvox.py", "konvox/__init__.py"])
@pytest.mark.parametrize("statement", [FACE, EVENTS])
def test_an_import_names_the_culprit(tmp_path: Path, name: str, statement: str) -> None:
    """A file that hides our package is not executed: the ImportError names its path and what to do."""
    culprit = write(tmp_path, name)
    done = run("-c", f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)", folder=tmp_path)
    package = name.partition("/")[0].removesuffix(".py")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    assert done.stdout.startswith(f"{culprit} hides the package {package} of konvox-hooks: rename it")


@pytest.mark.parametrize("name", ["worker.py", "broker.py", "receiver/__init__.py"])
def test_what_only_commands_need_is_a_warning(tmp_path: Path, name: str) -> None:
    """A test run beside a worker.py works, as handlers need none of ours; one sentence names the file all the same."""
    culprit = write(tmp_path, name)
    done = run("-c", ALL_THAT_HANDLERS_NEED, folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count(f"UserWarning: {culprit} hides the package") == 1


@pytest.mark.parametrize("name", ["archive.py", "handlers/mine.py"])
def test_what_hides_nothing_may_be_there(tmp_path: Path, name: str) -> None:
    """A file with a name that is none of ours, and a folder without __init__.py, lead to no message."""
    write(tmp_path, name)
    done = run("-c", ALL_THAT_HANDLERS_NEED, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_pytest_beside_a_worker_of_the_users(tmp_path: Path) -> None:
    """Handlers that import the user's own worker.py are tested like any others."""
    write(tmp_path, "worker.py", "def start_sync(): return 'mine'\n")
    write(
        tmp_path,
        "test_mine.py",
        f"{ALL_THAT_HANDLERS_NEED}from worker import start_sync\n\n\n"
        "def test_it():\n    assert start_sync() == 'mine'\n    assert make_event('contact.replied').id\n",
    )
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert "1 passed" in done.stdout, done.stdout


def test_a_command_says_it_without_a_traceback(tmp_path: Path) -> None:
    """A command whose package is hidden ends with exit code 2 and one line, and nothing is executed."""
    culprit = write(tmp_path, "worker.py")
    for arguments in (("config",), ("receiver", "--help")):
        done = run("-P", "-m", "konvox_hooks", *arguments, folder=tmp_path, PYTHONPATH=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"konvox-hooks: {culprit} hides the package worker of konvox-hooks: rename it")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["theirs", "my_konvox_hooks"])
def test_a_module_of_the_users_that_is_run_by_name_keeps_its_folder(tmp_path: Path, name: str) -> None:
    """A user's module that is run with `python -m` can import us, and then what stands beside it."""
    write(tmp_path, f"{name}/__init__.py", "import konvox_hooks\n")
    write(tmp_path, f"{name}/__main__.py", "import beside\n")
    write(tmp_path, "beside.py", "print('beside')\n")
    done = run("-m", name, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("beside\n", "")


def test_our_own_packages_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own packages hide nothing: neither installed, nor in the project's folder, nor through a link to it."""
    check_visible(*HANDLERS_NEED, *ONLY_COMMANDS_NEED)
    (tmp_path / "link").symlink_to(PROJECT)
    assert hiding_files(PROJECT) == hiding_files(tmp_path / "link") == hiding_files(tmp_path) == []
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link"), *sys.path])
    check_visible(*HANDLERS_NEED, *ONLY_COMMANDS_NEED)


def test_a_folder_is_looked_at_before_it_hides_anything(tmp_path: Path) -> None:
    """A folder is checked for what users import, `konvox_hooks` included, and other names do not count."""
    culprits = [write(tmp_path, name) for name in ("konvox_hooks.py", "handlers/__init__.py", "konvox.py")]
    write(tmp_path, "worker.py")
    assert hiding_files(tmp_path) == culprits
    check_visible(*HANDLERS_NEED)


def test_the_error_carries_its_data(tmp_path: Path) -> None:
    """The error is an ImportError that carries package and path."""
    error = HiddenPackageError("handlers", tmp_path / "handlers.py")
    assert isinstance(error, ImportError)
    assert (error.name, error.path, error.exit_code) == ("handlers", str(tmp_path / "handlers.py"), 2)
