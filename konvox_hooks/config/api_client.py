"""The Konvox API client that the settings describe. Called by `register`, `doctor` and `api`."""

from __future__ import annotations

from collections.abc import Sequence

from konvox.client import CallRetries, KonvoxClient
from konvox_hooks.config.accounts import ACCOUNT_FIELDS
from konvox_hooks.config.settings import Settings, example_of, variable_of
from konvox_hooks.errors import UsageError

API_SETTINGS = ("api_url", "api_key")
"""The settings without which the API cannot be called."""


def missing_settings(settings: Settings, needed: Sequence[str], *, purpose: str, account: str = "") -> UsageError:
    """The error for settings that are needed and not set, one line for each of them.

    Args:
        settings: the configuration.
        needed: the names of the settings.
        purpose: what they are needed for, as in "to register".
        account: the account that they belong to; empty for the environment variables.
    """
    return UsageError("\n".join(_missing(name, purpose, account) for name in needed if getattr(settings, name) is None))


def _missing(name: str, purpose: str, account: str) -> str:
    if account and name in ACCOUNT_FIELDS:
        return f'[{account}] {name}: not set in the accounts file, and needed {purpose} (example: {name} = "…")'
    variable = variable_of(name)
    return f"{variable}: not set, and needed {purpose} (example: {variable}={example_of(name)})"


def konvox_client(settings: Settings, *, retry: CallRetries | None = None, account: str = "") -> KonvoxClient:
    """An API client for `async with`.

    Args:
        settings: the configuration.
        retry: how often a call is retried; the client's default if None.
        account: the account that the settings belong to; empty for the environment variables.

    Raises:
        UsageError: the API's URL or key is not set.
    """
    if settings.api_url is None or settings.api_key is None:
        raise missing_settings(settings, API_SETTINGS, purpose="to call the Konvox API", account=account)
    return KonvoxClient(
        settings.api_url,
        settings.api_key.get_secret_value(),
        auth=settings.api_auth,
        retry=retry,
        paths=settings.konvox_paths(),
        secret_fields=settings.konvox_secret_fields(),
    )
