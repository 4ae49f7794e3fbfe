"""Several Konvox accounts on one receiver: the TOML file that KONVOX_ENDPOINTS_FILE names, checked like the settings.

Each endpoint is the settings once more, with an account of its own: who may deliver, and the API behind it. Called by
the roles, and by the commands that take `--endpoint`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from konvox_hooks.config.settings import SECRET_FIELDS, Settings, faults_by_name
from konvox_hooks.config.sources import FILE_SUFFIX
from konvox_hooks.errors import UsageError

ONE_AND_ONLY: Final = ""
"""The name of the endpoint that the variables themselves describe."""

ACCOUNT_FIELDS: Final = (
    "api_key",
    "hook_tokens",
    "signature",
    "signature_header",
    "signing_secrets",
    "require_token",
    "company_ids",
)
"""What belongs to one account: an endpoint does not inherit it, or one customer could deliver as another."""

SHARED_FIELDS: Final = ("api_url", "api_auth", "public_url")
"""What an endpoint takes from the variables unless it says otherwise."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_endpoints(settings: Settings) -> dict[str, Settings]:
    """The settings of each endpoint by its name.

    Without KONVOX_ENDPOINTS_FILE that is one, under the empty name. With it, the variables themselves are an endpoint
    of the empty name too, if they let anybody in.

    Raises:
        UsageError: one line for each fault in the file; none holds a secret.
    """
    if settings.endpoints_file is None:
        return {ONE_AND_ONLY: settings}
    tables = _read(settings.endpoints_file)
    endpoints: dict[str, Settings] = {}
    faults: list[str] = []
    for name, table in tables.items():
        try:
            endpoints[name] = _endpoint(settings, table)
        except UsageError as fault:
            faults += [f"{settings.endpoints_file}: [{name}] {line}" for line in str(fault).splitlines()]
    faults += [f"{settings.endpoints_file}: {line}" for line in _shared_tokens(endpoints)]
    if faults:
        raise UsageError("\n".join(faults))
    if settings.hook_tokens or settings.signature != "off":
        endpoints[ONE_AND_ONLY] = settings
    return endpoints


def settings_of_endpoint(settings: Settings, name: str | None) -> Settings:
    """The settings of one endpoint, for a command that works for one account.

    Raises:
        UsageError: there is no endpoint of that name, or there are several and none was named.
    """
    endpoints = load_endpoints(settings)
    if name is None:
        if settings.endpoints_file is not None and ONE_AND_ONLY not in endpoints:
            known = ", ".join(sorted(endpoints))
            raise UsageError(f"{settings.endpoints_file} names the accounts: say which one with --endpoint ({known})")
        return endpoints[ONE_AND_ONLY]
    if name not in endpoints:
        known = ", ".join(sorted(filter(None, endpoints))) or "none: set KONVOX_ENDPOINTS_FILE"
        raise UsageError(f"--endpoint {name}: there is no such endpoint (there are {known})")
    return endpoints[name]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"KONVOX_ENDPOINTS_FILE: {path} cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict) or not _NAME.fullmatch(name):
            raise UsageError(f"{path}: {name!r} must be a table with a plain name (example: [acme])")
    if not tables:
        raise UsageError(f'{path}: it names no endpoint (example: [acme], and below it hook_tokens = ["…"])')
    return tables


def _endpoint(settings: Settings, table: Mapping[str, Any]) -> Settings:
    own = _with_files(table)
    unknown = sorted(set(own) - {*ACCOUNT_FIELDS, *SHARED_FIELDS})
    if unknown:
        known = ", ".join((*ACCOUNT_FIELDS, *SHARED_FIELDS))
        raise UsageError(f"{', '.join(unknown)}: not known here (there are {known})")
    inherited = settings.model_dump(exclude={*ACCOUNT_FIELDS, "endpoints_file"})
    try:
        endpoint = Settings.model_validate({**inherited, **own})
    except ValidationError as error:
        raise UsageError("\n".join(f"{field}: {reason}" for field, reason in faults_by_name(error).items())) from None
    if not endpoint.hook_tokens and endpoint.signature == "off":
        raise UsageError("hook_tokens: neither a token nor a signature, so nobody could deliver to it")
    return endpoint


def _with_files(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with what stands in files: `api_key_file = "/run/secrets/acme"`."""
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
    return values


def _shared_tokens(endpoints: Mapping[str, Settings]) -> list[str]:
    owners: dict[str, str] = {}
    faults = []
    for name, endpoint in endpoints.items():
        for token in endpoint.hook_tokens:
            other = owners.setdefault(token.get_secret_value(), name)
            if other != name:
                faults.append(f"[{other}] and [{name}] share a token, so their events could not be told apart")
    return faults
