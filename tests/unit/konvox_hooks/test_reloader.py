"""Which files `konvox-hooks dev` watches."""

from __future__ import annotations

from pathlib import Path

import pytest

import handlers
from konvox_hooks.service.reloader import snapshot


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with handlers in it, and nothing of it on the path."""
    for name in (
        "mine_alpha.py",
        "worker.py",
        "pack_alpha/__init__.py",
        "pack_alpha/deep/part.py",
        "bare_alpha/part.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def watched(folder: Path, *specs: str) -> set[str]:
    """The files that are watched, as seen from the folder."""
    return {str(path.relative_to(folder)) for path in snapshot(specs)}


@pytest.mark.parametrize("spec", ["./mine_alpha.py", " mine_alpha.py ", "mine_alpha"])
def test_a_file_is_watched_with_its_neighbours(folder: Path, spec: str) -> None:
    """A handler's own worker.py is watched as well, whether the handler is named as a file or as a module."""
    assert watched(folder, spec) == {"mine_alpha.py", "worker.py"}


@pytest.mark.parametrize("package", ["pack_alpha", "bare_alpha"])
def test_a_package_is_watched_as_a_whole(folder: Path, package: str) -> None:
    """A module in a package is watched with all modules of the package, with an __init__.py or without."""
    expected = {str(path.relative_to(folder)) for path in (folder / package).rglob("*.py")}
    assert watched(folder, f"{package}.part") == expected


def test_what_is_installed_comes_first(folder: Path) -> None:
    """A folder of the user's that is called handlers is not taken for the package of that name."""
    (folder / "handlers").mkdir()
    (folder / "handlers" / "mine.py").touch()
    assert folder / "handlers" / "mine.py" not in snapshot(["handlers.log"])
    assert Path(handlers.__file__).with_name("log.py") in snapshot(["handlers.log"])


def test_a_change_is_another_snapshot(folder: Path) -> None:
    """A file that is written, added or removed makes the snapshot differ; one that does not exist is no fault."""
    assert snapshot(["no_such_alpha", "./nowhere/none.py"]) == {}
    before = snapshot(["mine_alpha"])
    (folder / "worker.py").write_text("changed = True\n")
    changed = snapshot(["mine_alpha"])
    (folder / "worker.py").unlink()
    assert before != changed != snapshot(["mine_alpha"])
