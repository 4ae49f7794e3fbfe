"""To load users' modules in tests: a handler in a file, what was loaded, and the error if it was not."""

from __future__ import annotations

import pytest

from handlers.errors import HandlerLoadError
from handlers.loader import LoadedHandlers, load
from handlers.registry import Handler

TELL = """
from handlers import Context, on
from konvox.events import ContactReplied


@on("contact.replied", attempts=3, timeout=5, backoff=2, backoff_cap=9)
async def tell(event: ContactReplied, ctx: Context) -> None: ...
"""
"""A file with one handler."""


def names(loaded: LoadedHandlers) -> list[str]:
    """The names of all handlers."""
    return [handler.name for handler in loaded.registry]


def only(loaded: LoadedHandlers) -> Handler:
    """The one handler that was loaded."""
    (handler,) = loaded.registry
    return handler


def fault(*specs: str) -> HandlerLoadError:
    """The error that loading these ends with."""
    with pytest.raises(HandlerLoadError) as caught:
        load(specs, entry_points=False)
    return caught.value
