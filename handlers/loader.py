"""From the names in `KONVOX_HANDLERS` to a registry: imports modules and files, and collects what `@on` marked there.

Called by the worker and the console when they start. Only what is defined in a listed module, or below a listed
package, is enabled: to import another module's handler does not enable it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

from handlers.decorator import mark_of, source_of
from handlers.errors import HandlerError, HandlerLoadError
from handlers.registry import Handler, Registry
from handlers.signature import check_annotation, wants_plain_event
from handlers.stubs import handler_stub

ENTRY_POINT_GROUP = "konvox_hooks.handlers"
"""Installed packages name their modules of handlers in this group."""

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
"""What a module's `lifespan` is: entered when the worker starts, left when it stops."""


@dataclass(frozen=True, slots=True)
class LoadedHandlers:
    """All that was loaded.

    Attributes:
        registry: the handlers.
        lifespans: by the `state_key` of the handlers that find in `ctx.state` what it yields.
    """

    registry: Registry
    lifespans: Mapping[str, Lifespan]


def load(specs: Sequence[str], *, entry_points: bool = True) -> LoadedHandlers:
    """Import modules and files of handlers.

    Args:
        specs: module names (`myapp.hooks`) and paths of `.py` files (`./my_handlers.py`, from the current directory).
            One that stands twice is loaded once.
        entry_points: whether to load what installed packages offer, too.

    Raises:
        HandlerError: a module does not import, holds no handler, or holds one that cannot work.
    """
    importlib.invalidate_caches()
    _make_importable(Path.cwd())
    modules: dict[str, ModuleType] = {}
    functions: dict[FunctionType, None] = {}
    for spec in [*specs, *(_installed_modules() if entry_points else ())]:
        module = _import(spec.strip())
        _check_file_is_new(module, modules.values(), spec)
        modules[module.__name__] = module
        functions |= dict.fromkeys(_handlers_of(module, spec))
    handlers = [_handler(function, modules) for function in functions]
    return LoadedHandlers(Registry(handlers), _lifespans([*modules, *(handler.state_key for handler in handlers)]))


def _installed_modules() -> Iterator[str]:
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.attr:
            raise HandlerLoadError(
                f"{entry_point.name} = {entry_point.value}",
                f"an entry point of {ENTRY_POINT_GROUP} names a module, without a colon and what follows it",
            )
        yield entry_point.module


def _import(spec: str) -> ModuleType:
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
    if known is not None and _is_file_of(getattr(known, "__file__", None), path):
        return known
    _check_name_is_free(name, path, spec)
    return _execute_file(name, path)


def _check_name_is_free(name: str, path: Path, spec: str) -> None:
    if not name.isidentifier():
        raise HandlerLoadError(spec, "its name is no Python name: rename it, using letters, digits and underscores")
    found = None if name in sys.modules else importlib.util.find_spec(name)
    if name in sys.modules or (found is not None and found.origin and not _is_file_of(found.origin, path)):
        other = getattr(sys.modules.get(name), "__file__", None) or (found and found.origin) or "Python itself"
        raise HandlerLoadError(spec, f"another module is already named {name} ({other}): rename the file")


def _check_file_is_new(module: ModuleType, others: Iterable[ModuleType], spec: str) -> None:
    # The same functions under two names would be two handlers, and each event would be handled twice.
    for other in others:
        if other is not module and module.__file__ and _is_file_of(other.__file__, Path(module.__file__).resolve()):
            raise HandlerLoadError(spec, f"the file of {other.__name__} under another name: list it once")


def _is_file_of(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).resolve() == path


def _execute_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise HandlerLoadError(str(path), "Python has no way to import it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _folder_first(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _folder_first(folder: Path) -> Iterator[None]:
    # First while the file loads, as with `python file.py`; last from then on, for imports inside its functions.
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
    _make_importable(folder)


def _make_importable(folder: Path) -> None:
    # At the end: what is installed must not be replaced by a file that happens to lie here.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _import_fault(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"it imports {error.name}, which is not installed in this environment: install it, or fix the import"
    return f"importing it fails with {type(error).__name__}: fix what the traceback shows"


def _users_traceback(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_machinery(filename: str) -> bool:
    return filename in {__file__, importlib.__file__} or filename.startswith("<frozen importlib")


def _handlers_of(module: ModuleType, spec: str) -> list[FunctionType]:
    """The handlers that are defined in the module or below it.

    Raises:
        HandlerLoadError: there is none.
    """
    marked = [value for value in vars(module).values() if isinstance(value, FunctionType) and mark_of(value)]
    own = [function for function in marked if _is_within(function.__module__, module.__name__)]
    if own:
        return own
    if marked:
        others = ", ".join(sorted({function.__module__ for function in marked}))
        reason = f"it holds no handler of its own, and only imports those of {others}: list that instead"
    elif hasattr(module, "__path__"):
        reason = "it is a package whose __init__.py holds no handler: import them there, or list its modules"
    else:
        reason = f"it holds no handler. Write one:\n\n{handler_stub('contact.replied')}"
    raise HandlerLoadError(spec, reason)


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _handler(function: FunctionType, modules: Iterable[str]) -> Handler:
    mark = mark_of(function)
    assert mark is not None  # noqa: S101 - only marked functions are collected
    check_annotation(function, mark.patterns)
    return Handler(
        name=f"{function.__module__}.{function.__name__}",
        function=function,
        patterns=mark.patterns,
        state_key=_state_key(function.__module__, modules),
        source=source_of(function),
        # A plain wrapper around an async function returns its coroutine, which must be awaited all the same.
        is_async=any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function)))),
        takes_plain_event=wants_plain_event(function, mark.patterns),
        when=mark.when,
        attempts=mark.attempts,
        timeout_seconds=mark.timeout_seconds,
        backoff_base_seconds=mark.backoff_base_seconds,
        backoff_cap_seconds=mark.backoff_cap_seconds,
    )


def _state_key(defined_in: str, listed: Iterable[str]) -> str:
    """The nearest module with a `lifespan`, from the one that defines the handler up to a package that was listed."""
    packages = list(listed)
    candidate = defined_in
    while any(_is_within(candidate, package) for package in packages):
        if hasattr(sys.modules[candidate], "lifespan"):
            return candidate
        candidate = candidate.rpartition(".")[0]
    return defined_in


def _lifespans(names: Iterable[str]) -> dict[str, Lifespan]:
    modules = [sys.modules[name] for name in dict.fromkeys(names)]
    return {module.__name__: _checked_lifespan(module) for module in modules if hasattr(module, "lifespan")}


def _checked_lifespan(module: ModuleType) -> Lifespan:
    lifespan: Any = module.lifespan
    hint = "write it with @asynccontextmanager, as async def lifespan() with one yield, or give it another name"
    if not callable(lifespan) or inspect.isasyncgenfunction(lifespan) or inspect.iscoroutinefunction(lifespan):
        raise HandlerLoadError(module.__name__, f"its lifespan is no async context manager: {hint}")
    try:
        inspect.signature(lifespan).bind()
    except TypeError:
        raise HandlerLoadError(module.__name__, f"its lifespan takes arguments: {hint}") from None
    return cast(Lifespan, lifespan)
