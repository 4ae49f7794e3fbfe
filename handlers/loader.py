"""From the names in `KONVOX_HANDLERS` to a registry: collects what `@on` marked in the modules and files they name.

Called by the worker and the commands when they start. Only what is defined in a listed module, or below a listed
package, is enabled: to import another module's handler does not enable it.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

from handlers.decorator import mark_of, source_of
from handlers.errors import HandlerLoadError
from handlers.importing import import_handlers, is_file_of, make_importable
from handlers.own_names import user_name
from handlers.registry import Handler, Registry
from handlers.signature import check_annotation, wants_plain_event
from handlers.stubs import handler_stub

ENTRY_POINT_GROUP = "konvox_hooks.handlers"
"""Installed packages name their modules of handlers in this group."""

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
"""A module's `lifespan`: the worker enters it when it starts, and leaves it when it stops."""


@dataclass(frozen=True, slots=True)
class LoadedHandlers:
    """All that was loaded.

    Attributes:
        registry: the handlers.
        lifespans: by the `state_key` of the handlers that get what it yields as `ctx.state`.
    """

    registry: Registry
    lifespans: Mapping[str, Lifespan]


def load(specs: Sequence[str], *, entry_points: bool = True) -> LoadedHandlers:
    """Import modules and files of handlers.

    Args:
        specs: module names (`myapp.hooks`) and paths of `.py` files (`./my_handlers.py`, from the current directory).
            One that is listed twice is loaded once.
        entry_points: whether to load what installed packages offer as well.

    Raises:
        HandlerError: a module does not import, has no handler, or has one that cannot work.
    """
    importlib.invalidate_caches()
    make_importable(Path.cwd())
    modules: dict[str, ModuleType] = {}
    functions: dict[FunctionType, None] = {}
    for spec in [*specs, *(_installed_modules() if entry_points else ())]:
        module = import_handlers(spec.strip())
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


def _check_file_is_new(module: ModuleType, others: Iterable[ModuleType], spec: str) -> None:
    # The same functions under two names would be two handlers, and each event would be handled twice.
    for other in others:
        if other is not module and module.__file__ and is_file_of(other.__file__, Path(module.__file__).resolve()):
            raise HandlerLoadError(spec, f"the file of {other.__name__} under another name: list it once")


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
        others = ", ".join(sorted({user_name(function.__module__) for function in marked}))
        reason = f"it has no handler of its own, and only imports those of {others}: list that instead"
    elif hasattr(module, "__path__"):
        reason = "it is a package whose __init__.py has no handler: import them there, or list its modules"
    else:
        reason = f"it has no handler. Write one:\n\n{handler_stub('contact.replied')}"
    raise HandlerLoadError(spec, reason)


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _handler(function: FunctionType, modules: Iterable[str]) -> Handler:
    mark = mark_of(function)
    assert mark is not None  # noqa: S101 - only marked functions are collected
    check_annotation(function, mark.patterns)
    return Handler(
        name=mark.name or f"{function.__module__}.{function.__name__}",
        function=function,
        patterns=mark.patterns,
        state_key=_state_key(function.__module__, modules),
        source=source_of(function),
        # A plain wrapper around an async function returns its coroutine, which must be awaited as well.
        is_async=any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function)))),
        takes_plain_event=wants_plain_event(function, mark.patterns),
        when=mark.when,
        attempts=mark.attempts,
        timeout_seconds=mark.timeout_seconds,
        backoff_base_seconds=mark.backoff_base_seconds,
        backoff_cap_seconds=mark.backoff_cap_seconds,
        retry_for_seconds=mark.retry_for_seconds,
        was=mark.was,
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
        raise HandlerLoadError(module.__name__, f"its lifespan is not an async context manager: {hint}")
    try:
        inspect.signature(lifespan).bind()
    except TypeError:
        raise HandlerLoadError(module.__name__, f"its lifespan takes arguments: {hint}") from None
    return cast(Lifespan, lifespan)
