"""A user's own `worker.py`, for the user's own modules. Called when handlers are imported.

Packages of ours have names that a user's files may have as well. Python keeps one module for each name, and in our
processes `worker` is ours. Where a user's `worker.py` stands beside the handlers or in the working directory, it is
imported under another name (`worker@1`), and every module of that folder is executed with an `__import__` of its own,
which puts that name in the place of `worker`. That way it also holds for imports inside functions, which run later.

Folders without such a file are imported as usual. `importlib.import_module("worker")` is ours in any case.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

INTERNAL_PACKAGES: Final = ("broker", "receiver", "worker")
"""Packages of ours that users do not import. `handlers`, `konvox` and `konvox_hooks` they do: those are always ours."""

Aliases = Mapping[str, str]
"""The names under which the user's files are imported, by the names that the user's modules use."""

_aliases_in: dict[Path, Aliases] = {}
_file_of_alias: dict[str, ModuleSpec] = {}


def use_own_names(folder: Path) -> None:
    """Have the modules in a folder on the path import the user's own `worker.py` and its like, if there are any.

    Such a file is looked for in the folder itself, then in the working directory.
    """
    aliases = {name: alias for name in INTERNAL_PACKAGES if (alias := _alias(name, (folder, Path.cwd())))}
    if aliases == _aliases_in.get(folder, {}):
        return
    _aliases_in[folder] = aliases
    if _finder_in_folder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder_in_folder)
        sys.meta_path.append(_AliasFinder)
    for path in [path for path in sys.path_importer_cache if Path(path).is_relative_to(folder)]:
        del sys.path_importer_cache[path]  # made when the folder had no aliases


def user_name(module: str) -> str:
    """The name under which a user's module imports this one: without the number that an alias has."""
    top, dot, rest = module.partition(".")
    return top.partition("@")[0] + dot + rest


class UserFileLoader(SourceFileLoader):
    """Executes a module of the user's, whose imports mean the user's own files."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute it, with an `__import__` of its own among its builtins if its folder needs one."""
        if aliases := _aliases_at(self.path):
            vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import_with(aliases)}
        super().exec_module(module)


def _alias(name: str, folders: Iterable[Path]) -> str | None:
    """The alias of the first file of this name; None if there is none, or a plain import finds it."""
    places = (PathFinder.find_spec(name, [str(folder)]) for folder in folders)
    found = next((spec for spec in places if spec and isinstance(spec.loader, SourceFileLoader)), None)
    usual = find_spec(name)
    if not (found and found.origin and usual and usual.origin) or Path(found.origin).samefile(usual.origin):
        return None
    known = (alias for alias, spec in _file_of_alias.items() if spec.origin == found.origin)
    alias = next(known, f"{name}@{len(_file_of_alias) + 1}")
    _file_of_alias[alias] = found
    return alias


def _aliases_at(path: str) -> Aliases:
    """The aliases that hold for a file, or for a package's folder.

    They are those of the innermost folder on the path: packages are in the folder, a virtual environment there is not.
    """
    entries = [Path(entry) for entry in sys.path if entry and Path(path).is_relative_to(entry)]
    innermost = max(entries, key=lambda entry: len(entry.parts), default=None)
    return _aliases_in.get(innermost, {}) if innermost else {}


def _finder_in_folder(path: str) -> FileFinder:
    """A path hook: finds the modules in a folder with aliases, and in packages there.

    Raises:
        ImportError: the folder has no aliases.
    """
    if not _aliases_at(path):
        raise ImportError(path)
    return FileFinder(
        path,
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (UserFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )


class _AliasFinder:
    """Finds a user's file by its alias."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        del path, target
        found = _file_of_alias.get(fullname)
        if found is None or found.origin is None:
            return None
        return spec_from_file_location(
            fullname,
            found.origin,
            loader=UserFileLoader(fullname, found.origin),
            submodule_search_locations=found.submodule_search_locations,
        )


def _import_with(aliases: Aliases) -> Callable[..., ModuleType]:
    """An `__import__` that puts aliases in the place of names, but for relative imports (`level` above 0)."""

    def import_with_aliases(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the name that callers of __import__ know
        locals: Mapping[str, object] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top, dot, rest = name.partition(".")
        if level == 0 and top in aliases:
            name = aliases[top] + dot + rest
        return builtins.__import__(name, globals, locals, fromlist, level)

    return import_with_aliases
