"""`konvox-hooks init`: what it makes works as it stands, and nothing that was there is touched."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.support.console import Console

_FILES = {".env", ".gitignore", "my_handlers.py", "test_my_handlers.py"}


def made_in(folder: Path) -> set[str]:
    """The names of what is in a folder."""
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("arguments", [[], ["new/folder"]])
def test_it_makes_files_that_work(console: Console, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The new test passes, the handlers load, and only the owner can read the token, which git ignores."""
    made = console("init", *arguments)
    assert made.exit_code == 0
    folder = Path(*arguments)
    assert made_in(folder) == _FILES
    assert (f"cd {folder}" in made.out) == bool(arguments)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    token = dotenv_values(folder / ".env")["KONVOX_HOOK_TOKENS"]
    assert token is not None
    assert len(token) >= 43
    assert token not in made.out + made.err
    assert {".env", ".konvox-hooks/"} <= set((folder / ".gitignore").read_text().splitlines())
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    loaded = console("handlers")
    sys.modules.pop("my_handlers")
    assert (loaded.exit_code, [row[0] for row in loaded.rows]) == (
        0,
        ["my_handlers.opt_out", "my_handlers.tell_sales"],
    )
    assert console("config", "--json").exit_code == 0


def test_each_token_is_another(console: Console) -> None:
    """Each run makes a new token, because it is not from a template."""
    console("init", "a")
    console("init", "b")
    assert Path("a/.env").read_text() != Path("b/.env").read_text()


@pytest.mark.parametrize("name", [".env", "my_handlers.py"])
def test_what_exists_is_left_as_it_is(console: Console, name: str) -> None:
    """An existing file stays, the rest is made, the exit code is 3, and a second run changes nothing."""
    Path(name).write_text("# mine\n")
    first = console("init")
    assert first.exit_code == 3
    assert f"left as it was: {name}" in first.err
    assert Path(name).read_text() == "# mine\n"
    assert made_in(Path()) == (_FILES - {"test_my_handlers.py"} if name == "my_handlers.py" else _FILES)
    before = {path: path.read_bytes() for path in Path().iterdir()}
    second = console("init")
    assert (second.exit_code, second.out) == (3, "")
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("before", ["*.pyc", "*.pyc\n", ".env\n", "/.env\n.konvox-hooks\n"])
def test_lines_are_added_to_gitignore(console: Console, before: str) -> None:
    """An existing .gitignore gets only the lines that it lacks, behind its own."""
    Path(".gitignore").write_text(before)
    assert console("init").exit_code == 0
    after = Path(".gitignore").read_text()
    assert after.startswith(before)
    lines = [line.strip("/") for line in after.splitlines()]
    assert lines.count(".env") == lines.count(".konvox-hooks") == 1


def test_a_name_that_hides_ours_in_tests_is_pointed_out(console: Console) -> None:
    """Beside a folder that would hide our handlers all is made, but the exit code 3 asks for a new name."""
    Path("taken/handlers").mkdir(parents=True)
    Path("taken/handlers/__init__.py").touch()
    Path("taken/worker.py").touch()
    made = console("init", "taken")
    assert made.exit_code == 3
    assert made_in(Path("taken")) >= _FILES
    assert "Next:" in made.out
    assert f"rename {Path('taken/handlers/__init__.py').resolve()}: in a test run it hides" in made.err
    assert "worker.py" not in made.err


def test_a_file_is_no_folder(console: Console) -> None:
    """A file in place of the folder leads to exit code 2, and stays as it was."""
    Path("taken").write_text("mine")
    refused = console("init", "taken")
    assert refused.exit_code == 2
    assert "taken" in refused.err
    assert Path("taken").read_text() == "mine"
