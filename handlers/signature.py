"""The annotation of a handler's first parameter, and what follows from it. Called by the loader."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

from handlers.decorator import source_of
from handlers.errors import InvalidHandlerError
from konvox.events import EVENT_MODELS, EVENT_NAMES, Event


def wants_plain_event(function: Callable[..., Any], patterns: Sequence[str]) -> bool:
    """Whether to give the handler a plain `Event`: it is annotated so, or not annotated and takes every event."""
    classes = _event_classes(function)
    return classes == (Event,) or (not classes and set(patterns) == {"*"})


def check_annotation(function: Callable[..., Any], patterns: Sequence[str]) -> None:
    """Refuse a handler whose events would be of another class than its annotation says.

    Raises:
        InvalidHandlerError: it asks by name for an event whose model does not fit its annotation.
    """
    classes = _event_classes(function)
    for model in [EVENT_MODELS[pattern] for pattern in patterns if pattern in EVENT_MODELS]:
        if classes and not issubclass(model, classes):
            raise InvalidHandlerError(
                function.__qualname__,
                source_of(function),
                f"it asks for {EVENT_NAMES[model]} and takes {' | '.join(kind.__name__ for kind in classes)}",
                f"annotate event with {model.__name__}, or with Event to take any",
            )


def _event_classes(function: Callable[..., Any]) -> tuple[type[Event], ...]:
    """The event classes of the annotation; none if it is missing, is something else or cannot be resolved."""
    annotation = _first_annotation(function)
    classes = get_args(annotation) or (annotation,)
    return classes if all(isinstance(kind, type) and issubclass(kind, Event) for kind in classes) else ()


def _first_annotation(function: Callable[..., Any]) -> Any:
    inner = inspect.unwrap(function)
    parameter = next(iter(inspect.signature(inner).parameters), "")
    annotation = None
    try:
        annotation = inner.__annotations__.get(parameter)
        return get_type_hints(_carrier({parameter: annotation}), inner.__globals__).get(parameter)
    except Exception:  # noqa: BLE001 - an annotation is any expression; without it the handler still works
        # A name that is imported for type checkers only cannot be resolved; the name `Event` is clear enough.
        return Event if isinstance(annotation, str) and annotation.rpartition(".")[2] == "Event" else None


def _carrier(annotations: dict[str, Any]) -> Callable[[], None]:
    """A function with this one annotation: resolved alone, it does not fail because of the others."""

    def carrier() -> None: ...

    carrier.__annotations__ = annotations
    return carrier
