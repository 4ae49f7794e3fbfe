"""From a name in `KONVOX_HANDLERS` to a module: imports a module by its name, or a file by its path.

Called by the loader. An error says how to fix it, with a traceback that starts in the user's own code.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from handlers import own_names
from handlers.errors import HandlerError, HandlerLoadError
from handlers.own_names import UserFileLoader, use_own_names, user_name

_user_folders: list[str] = []
"""The folders that we added to the end of `sys.path`."""


def make_importable(folder: Path) -> None:
    """Let modules in a folder be imported, after all that is installed: a file there replaces no package."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        _user_folders.append(str(folder))
    use_own_names(folder)


def import_handlers(spec: str) -> ModuleType:
    """Import what one entry of KONVOX_HANDLERS names.

    Raises:
        HandlerLoadError: there is no such module or file, or it does not import.
        InvalidHandlerError: it uses `@on` wrongly.
    """
    is_path = spec.endswith(".py") or "/" in spec or "\\" in spec
    try:
        return _import_file(spec) if is_path else _import_module(spec)
    except HandlerError:
        raise
    except (Exception, SystemExit) as error:
        raise HandlerLoadError(spec, _import_fault(error), _users_traceback(error)) from error


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise HandlerLoadError(
            repr(name), "not the name of a module, such as myapp.hooks, nor a path such as ./my_handlers.py"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise HandlerLoadError(name, _not_found(name, error.name)) from None


def _not_found(name: str, missing: str) -> str:
    path = f"{name.replace('.', '/')}.py"
    if Path(path).is_file():
        return f"no such module, because {name.partition('.')[0]} is something else here: name the file, ./{path}"
    return f"no module named {missing}: check the name, install it in this environment, or name a file (./{path})"


def _import_file(spec: str) -> ModuleType:
    path = Path(spec).resolve()
    if path.suffix != ".py":
        raise HandlerLoadError(spec, "a path must end in .py; a module is named with dots, such as myapp.hooks")
    if not path.is_file():
        raise HandlerLoadError(spec, f"no such file: paths are taken from {Path.cwd()}")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and is_file_of(getattr(known, "__file__", None), path):
        return known
    _check_name_is_free(name, path, spec)
    return _execute_file(name, path)


def _check_name_is_free(name: str, path: Path, spec: str) -> None:
    if not name.isidentifier():
        raise HandlerLoadError(spec, "its name is no Python name: rename it, using letters, digits and underscores")
    found = None if name in sys.modules else importlib.util.find_spec(name)
    if name in sys.modules or (found is not None and found.origin and not is_file_of(found.origin, path)):
        other = getattr(sys.modules.get(name), "__file__", None) or (found and found.origin) or "Python itself"
        raise HandlerLoadError(spec, f"another module is already named {name} ({other}): rename the file")


def is_file_of(origin: str | None, path: Path) -> bool:
    """Whether a module's `__file__` is this file, whose path is resolved."""
    return origin is not None and Path(origin).resolve() == path


def _execute_file(name: str, path: Path) -> ModuleType:
    make_importable(path.parent)
    loader = UserFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # noqa: S101 - it is None only where no loader fits
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _before_other_folders(path.parent):
            loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _before_other_folders(folder: Path) -> Iterator[None]:
    # Whatever else was loaded, a file imports its own neighbours. What is installed still comes first.
    position = min((sys.path.index(entry) for entry in _user_folders if entry in sys.path), default=len(sys.path))
    sys.path.insert(position, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_fault(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = user_name(error.name)
        return f"it imports {missing}, which is not installed in this environment: install it, or fix the import"
    return f"importing it fails with {type(error).__name__}: fix what the traceback shows"


def _users_traceback(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_machinery(filename: str) -> bool:
    return filename in {__file__, own_names.__file__, importlib.__file__} or filename.startswith("<frozen importlib")
