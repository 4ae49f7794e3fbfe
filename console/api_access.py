"""The Konvox API as the settings describe it, for the commands that call it."""

from __future__ import annotations

from collections.abc import Sequence

from console.errors import UsageError
from console.settings import Settings, example_of, variable_of
from konvox.client import KonvoxClient, RetryPolicy

API_SETTINGS = ("api_url", "api_key")
"""What must be set to call the API."""


def missing_settings(settings: Settings, needed: Sequence[str], *, purpose: str) -> UsageError:
    """The error that names, one line for each, the settings that are needed for a purpose and not set."""
    return UsageError(
        "\n".join(
            f"{variable_of(name)}: not set, and needed {purpose} (example: {variable_of(name)}={example_of(name)})"
            for name in needed
            if getattr(settings, name) is None
        )
    )


def konvox_client(settings: Settings, *, retry: RetryPolicy | None = None) -> KonvoxClient:
    """The client of the company's Konvox, to be used with `async with`.

    Args:
        settings: the configuration.
        retry: how often a call is repeated, if not as usual.

    Raises:
        UsageError: where the API is, or the key to it, is not set.
    """
    if settings.api_url is None or settings.api_key is None:
        raise missing_settings(settings, API_SETTINGS, purpose="to call the Konvox API")
    return KonvoxClient(
        settings.api_url,
        settings.api_key.get_secret_value(),
        auth=settings.api_auth,
        retry=retry,
        paths=settings.konvox_paths(),
        secret_fields=settings.konvox_secret_fields(),
    )
