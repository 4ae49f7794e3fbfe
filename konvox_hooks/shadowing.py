"""Whether files of the user's hide packages of ours, since Python finds another `handlers` or `worker` first.

Our own processes do not look into the user's folder first (see `process.own_command`). A test run does, as pytest puts
its folders first on the path; so does PYTHONPATH. Called when `konvox_hooks` is imported, by the command
line, by `doctor` and by `init`. Looks without importing.
"""

from __future__ import annotations

import warnings
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from konvox_hooks.errors import HiddenPackageError

HANDLERS_NEED: Final = ("handlers", "konvox")
"""The packages behind what users import. A test of handlers works with the user's own `worker.py` on the path."""

ONLY_COMMANDS_NEED: Final = ("broker", "receiver", "worker")
"""The packages that the command line needs besides: with those above all of ours but `konvox_hooks` itself."""

_HOME: Final = Path(__file__).resolve().parents[1]


def check_visible(*packages: str) -> None:
    """See that Python finds these packages of ours under their names.

    Raises:
        HiddenPackageError: it finds something else first.
    """
    for package in packages:
        if culprit := _not_ours(package, _spec(package)):
            raise HiddenPackageError(package, culprit)


def warn_of_hidden(*packages: str) -> None:
    """Warn of packages of ours that what users import can do without, and that a command could not."""
    for package in packages:
        if culprit := _not_ours(package, _spec(package)):
            warnings.warn(str(HiddenPackageError(package, culprit)), stacklevel=3)


def hiding_files(folder: Path) -> list[Path]:
    """The files in a folder that hide what users import, once the folder is first on the path, as in a test run."""
    importable = ("konvox_hooks", *HANDLERS_NEED)
    found = [_not_ours(name, PathFinder.find_spec(name, [str(folder.resolve())])) for name in importable]
    return [culprit for culprit in found if culprit is not None]


def _spec(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except ValueError:  # a module that was made by hand: there is no file to name
        return None


def _not_ours(package: str, spec: ModuleSpec | None) -> Path | None:
    """The file that would be imported, unless it is that of our own package."""
    if spec is None or spec.origin is None:  # a folder without __init__.py comes after every real package
        return None
    culprit = Path(spec.origin)
    return None if culprit.resolve().parent == _HOME / package else culprit
