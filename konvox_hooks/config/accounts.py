"""Several Konvox accounts on one receiver: the TOML file that KONVOX_ACCOUNTS_FILE names, checked like the settings.

An account is a `Settings` of its own: it says who may deliver events and which API key to use. Called by receiver,
worker and doctor, and by the commands that take `--account`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from konvox_hooks.config.load import faults_by_name
from konvox_hooks.config.settings import SECRET_FIELDS, Settings
from konvox_hooks.config.sources import FILE_SUFFIX
from konvox_hooks.errors import UsageError

DEFAULT_ACCOUNT: Final = ""
"""The name of the account that the environment variables describe."""

ACCOUNT_FIELDS: Final = (
    "api_key",
    "hook_tokens",
    "signature",
    "signature_header",
    "signing_secrets",
    "require_token",
    "company_ids",
)
"""Fields that an account never inherits: otherwise one customer could deliver events as another."""

SHARED_FIELDS: Final = ("api_url", "api_auth", "public_url")
"""Fields that an account takes from the environment variables unless it sets them itself."""

ANY_COMPANY_RISK: Final = (
    "anybody who may deliver to it can send events in the name of any company, another account's too"
)
COMPANIES_HINT: Final = "set its company_ids (KONVOX_COMPANY_IDS for the account of the variables)"
"""What an account without `company_ids` allows beside others, and how to fix it. Said by receiver and doctor."""

_HEADINGS: Final = ("accounts", "endpoints")
"""The headings that may hold the accounts' tables; the second is the former name."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_accounts(settings: Settings) -> dict[str, Settings]:
    """The settings of each account by its name.

    Without KONVOX_ACCOUNTS_FILE there is one account, `DEFAULT_ACCOUNT`. With the file, the environment variables
    describe a further account of that name if they set a token or a signature.

    Raises:
        UsageError: one line for each fault in the file; no line holds a secret.
    """
    if settings.accounts_file is None:
        return {DEFAULT_ACCOUNT: settings}
    tables = _read(settings.accounts_file)
    accounts: dict[str, Settings] = {}
    faults: list[str] = []
    for name, table in tables.items():
        try:
            accounts[name] = _account_settings(settings, table)
        except UsageError as fault:
            faults += [f"{settings.accounts_file}: [{name}] {line}" for line in str(fault).splitlines()]
    faults += [f"{settings.accounts_file}: {line}" for line in _shared_tokens(accounts)]
    if faults:
        raise UsageError("\n".join(faults))
    if settings.hook_tokens or settings.signature != "off":
        accounts[DEFAULT_ACCOUNT] = settings
    return accounts


def known_by(settings: Settings) -> list[str]:
    """By what this installation is known to its store: URL tokens, signing secrets and companies of all accounts.

    Raises:
        UsageError: as `load_accounts`.
    """
    known: list[str] = []
    for account in load_accounts(settings).values():
        known += [f"token {token.get_secret_value()}" for token in account.hook_tokens]
        known += [f"secret {secret.get_secret_value()}" for secret in account.signing_secrets]
        known += [f"company {company}" for company in account.company_ids]
    return known


def settings_of_account(settings: Settings, name: str | None) -> Settings:
    """The settings of one account, for a command that works for one account.

    Args:
        settings: the settings of the environment.
        name: the account's name; None for the default account.

    Raises:
        UsageError: there is no account of that name, or there are several and none was named.
    """
    accounts = load_accounts(settings)
    if name is None:
        if settings.accounts_file is not None and DEFAULT_ACCOUNT not in accounts:
            known = ", ".join(sorted(accounts))
            raise UsageError(f"{settings.accounts_file} names the accounts: say which one with --account ({known})")
        return accounts[DEFAULT_ACCOUNT]
    if name not in accounts:
        known = ", ".join(sorted(filter(None, accounts))) or "none: set KONVOX_ACCOUNTS_FILE"
        raise UsageError(f"--account {name}: there is no such account (there are {known})")
    return accounts[name]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"KONVOX_ACCOUNTS_FILE: {path} cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    accounts = _account_tables(tables)
    for name, table in accounts.items():
        if not isinstance(table, dict) or not _NAME.fullmatch(name):
            raise UsageError(f"{path}: {name!r} must be a table with a plain name (example: [accounts.acme])")
    if not accounts:
        raise UsageError(f'{path}: it names no account (example: [accounts.acme], and below it hook_tokens = ["…"])')
    return accounts


def _account_tables(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The accounts' tables: `[accounts.acme]`, or `[acme]` where the file has no such heading."""
    headings = [heading for heading in _HEADINGS if heading in tables]
    if len(tables) == len(headings) == 1:
        nested = tables[headings[0]]
        if isinstance(nested, dict) and all(isinstance(table, dict) for table in nested.values()):
            return nested
    return tables


def _account_settings(settings: Settings, table: Mapping[str, Any]) -> Settings:
    own = _with_secret_files(table)
    unknown = sorted(set(own) - {*ACCOUNT_FIELDS, *SHARED_FIELDS})
    if unknown:
        known = ", ".join((*ACCOUNT_FIELDS, *SHARED_FIELDS))
        raise UsageError(f"{', '.join(unknown)}: not known here (there are {known})")
    inherited = settings.model_dump(exclude={*ACCOUNT_FIELDS, "accounts_file"})
    try:
        account = Settings.model_validate({**inherited, **own})
    except ValidationError as error:
        raise UsageError("\n".join(f"{field}: {reason}" for field, reason in faults_by_name(error).items())) from None
    if not account.hook_tokens and account.signature == "off":
        raise UsageError("hook_tokens: neither a token nor a signature, so nobody could deliver to it")
    return account


def _with_secret_files(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with each `…_file` replaced by the secret that it names: `api_key_file = "/run/secrets/acme"`."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        field = key.removesuffix(FILE_SUFFIX.lower())
        if field == key or field not in SECRET_FIELDS:
            values[key] = value
            continue
        if field in table:
            raise UsageError(f"{key}: {field} is set as well: keep one of the two")
        try:
            values[field] = Path(str(value)).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise UsageError(f"{key}: the file that it names cannot be read") from None
        if not values[field]:
            raise UsageError(f"{key}: the file that it names is empty")
    return values


def _shared_tokens(accounts: Mapping[str, Settings]) -> list[str]:
    owners: dict[str, str] = {}
    faults = []
    for name, account in accounts.items():
        for token in account.hook_tokens:
            other = owners.setdefault(token.get_secret_value(), name)
            if other != name:
                faults.append(f"[{other}] and [{name}] share a token: each account needs tokens of its own")
    return faults
