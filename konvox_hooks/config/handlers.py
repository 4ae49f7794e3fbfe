"""The handlers that the settings name, and the Konvox API that they reach. Used by the worker and by `replay`."""

from __future__ import annotations

import structlog

from handlers.loader import LoadedHandlers, load
from konvox_hooks.config.accounts import load_accounts
from konvox_hooks.config.settings import Settings
from konvox_hooks.config.sources import export_env_file
from worker.running.context import KonvoxAccess

FALLBACK_HANDLERS = ("handlers.log",)
"""The handlers that run if none is configured: they log the events."""

logger = structlog.get_logger("konvox_hooks")


def load_handlers(settings: Settings) -> LoadedHandlers:
    """The handlers that are configured and installed, or `FALLBACK_HANDLERS` if there are none.

    Called by `run_worker` and `replay`. Handlers find their own variables of `.env`, such as SLACK_WEBHOOK_URL, in the
    environment.

    Raises:
        HandlerError: a module of handlers cannot be loaded.
    """
    export_env_file()
    loaded = load(settings.handlers)
    if len(loaded.registry) == 0:
        logger.warning("handlers.not_configured", what_happens="events are only logged", hint="set KONVOX_HANDLERS")
        return load(FALLBACK_HANDLERS, entry_points=False)
    return loaded


def konvox_access(settings: Settings) -> dict[str, KonvoxAccess]:
    """How handlers reach the Konvox API, by the account of their event. Called by `run_worker` and `replay`."""
    return {name: _access(account) for name, account in load_accounts(settings).items()}


def _access(settings: Settings) -> KonvoxAccess:
    return KonvoxAccess(
        settings.api_url,
        settings.api_key.get_secret_value() if settings.api_key else None,
        auth=settings.api_auth,
        paths=settings.konvox_paths(),
        secret_fields=settings.konvox_secret_fields(),
    )
