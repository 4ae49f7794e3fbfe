"""Which events the loaded handlers want from Konvox. Called by `konvox-hooks register` and `doctor`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from handlers.loader import load
from handlers.registry import Registry
from konvox.events import EVENT_MODELS
from konvox_hooks.config.settings import Settings
from konvox_hooks.config.sources import export_env_file


def load_registry(settings: Settings) -> Registry:
    """The handlers that a worker would load. The variables of `.env` are in the environment, as they are in a worker.

    Raises:
        HandlerError: a module cannot be loaded.
    """
    export_env_file()
    # A module of handlers may print when it is imported, and stdout is for the result.
    with redirect_stdout(sys.stderr):
        return load(settings.handlers).registry


def wanted_events(registry: Registry) -> list[str]:
    """The events to subscribe to: those named in full, and the documented ones that wildcards match."""
    return sorted({*registry.event_names(), *matched_events(registry)})


def matched_events(registry: Registry) -> list[str]:
    """The documented events that any handler wants, by name or by wildcard."""
    return [name for name in EVENT_MODELS if registry.matching(name)]
