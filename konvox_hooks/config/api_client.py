"""The Konvox API as the settings describe it, for the commands that call it."""

from __future__ import annotations

from collections.abc import Sequence

from konvox.client import KonvoxClient, RetryPolicy
from konvox_hooks.config.accounts import ACCOUNT_FIELDS
from konvox_hooks.config.settings import Settings, example_of, variable_of
from konvox_hooks.errors import UsageError

API_SETTINGS = ("api_url", "api_key")
"""What must be set to call the API."""


def missing_settings(settings: Settings, needed: Sequence[str], *, purpose: str, account: str = "") -> UsageError:
    """The error that names, one line for each, the settings that are needed for a purpose and not set.

    Args:
        settings: the configuration.
        needed: the settings.
        purpose: what for, in words.
        account: whose they are, where there are several: what it does not inherit is set in the file.
    """
    return UsageError("\n".join(_missing(name, purpose, account) for name in needed if getattr(settings, name) is None))


def _missing(name: str, purpose: str, account: str) -> str:
    if account and name in ACCOUNT_FIELDS:
        return f'[{account}] {name}: not set in the accounts file, and needed {purpose} (example: {name} = "…")'
    variable = variable_of(name)
    return f"{variable}: not set, and needed {purpose} (example: {variable}={example_of(name)})"


def konvox_client(settings: Settings, *, retry: RetryPolicy | None = None, account: str = "") -> KonvoxClient:
    """The client of the company's Konvox, to be used with `async with`.

    Args:
        settings: the configuration.
        retry: how often a call is repeated, if not as usual.
        account: the account that the settings are of, where there are several.

    Raises:
        UsageError: where the API is, or the key to it, is not set.
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
