"""The settings: every KONVOX_ variable, its default, and which values are valid. `config.load` reads them.

A value comes from the environment, else from `.env`, else it is the default. A secret may also be in a file that
`<VARIABLE>_FILE` names. An empty variable counts as not set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from broker.keys import DEFAULT_NAMESPACE, NAMESPACE
from konvox import inferred
from konvox.schemes import SCHEMES, SchemeName
from konvox.signatures import STANDARD_SECRET_PREFIX, standard_key
from konvox.urls import MASK
from konvox_hooks.config import strength
from konvox_hooks.config.api_paths import resource_paths
from konvox_hooks.config.network import listening_hosts, trusted_networks
from konvox_hooks.config.sources import Source
from konvox_hooks.config.urls import api_base_url, mask_redis_address, public_origin, redis_address
from konvox_hooks.errors import UsageError

PREFIX: Final = "KONVOX_"
SPOOL: Final = "spool"
CHALLENGES: Final = "challenges"
NOT_SET: Final = "not set"

Port = Annotated[int, Field(ge=0, le=65535)]

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]+")

_SCHEMES: Final = tuple(SCHEMES)
_API_KEY: Final = re.compile(r"[!-~]+")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _split(value: object) -> object:
    """The parts of a comma-separated text. Line breaks separate too: a secret file may hold one secret per line."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in re.split(r"[,\n]", value) if part.strip()]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Words = Annotated[list[str], BeforeValidator(_split)]
Secrets = Annotated[list[SecretStr], BeforeValidator(_split)]


class EffectiveValue(NamedTuple):
    """One line of `konvox-hooks config`. Secrets are masked."""

    variable: str
    value: str
    source: Source


class Settings(BaseSettings):
    """Every setting, checked. `load_settings` makes it; the constructor takes the defaults and its arguments only."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        case_sensitive=True,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    api_url: str | None = Field(None, examples=["https://app.example.com"], description="base URL of the Konvox API")
    api_key: SecretStr | None = Field(
        None, examples=["<kvx_live_ and the rest of your key>"], description="key for the Konvox API"
    )
    api_auth: Annotated[Literal["bearer", "x-api-key"], BeforeValidator(_lower)] = Field(
        "bearer", examples=["x-api-key"], description="how the key is sent: bearer (Authorization) or x-api-key"
    )
    api_paths: Words = Field(
        default=[],
        examples=["contacts=/api/v2/contacts,webhooks=/api/v2/webhooks"],
        description="paths of the API's resources, where they differ from the documented ones, "
        "comma-separated: resource=/path",
    )
    api_secret_fields: Words = Field(
        default=[],
        examples=[",".join(inferred.SECRET_FIELDS)],
        description="fields that may hold a new webhook's signing secret, comma-separated; "
        f"not set: {' and '.join(inferred.SECRET_FIELDS)}",
    )
    public_url: str | None = Field(
        None, examples=["https://hooks.example.com"], description="HTTPS origin at which Konvox reaches the receiver"
    )
    hook_tokens: Secrets = Field(
        default=[],
        examples=["<what that command prints>"],
        description="URL tokens, comma-separated: the first is registered, all are accepted",
    )
    signature: Literal["off", SchemeName] = Field(
        "off", examples=["hmac-sha256"], description=f"off, {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}"
    )
    signature_header: str = Field(
        inferred.SIGNATURE_HEADER,
        examples=[inferred.SIGNATURE_HEADER],
        description="header that holds the signature, for the first two",
    )
    signing_secrets: Secrets = Field(
        default=[],
        validate_default=True,
        examples=["<the secret that Konvox signs with>"],
        description="signing secrets, comma-separated: any may match",
    )
    require_token: bool = Field(
        default=False,
        examples=["true"],
        description="whether a request needs a URL token although it is signed",
    )
    accounts_file: Path | None = Field(
        None,
        examples=["accounts.toml"],
        description="TOML file of several Konvox accounts on one receiver, see docs/accounts.md",
    )
    company_ids: Words = Field(
        default=[], examples=["clxyz123"], description="companyIds to accept, comma-separated; not set: any"
    )
    redis_url: SecretStr | None = Field(
        None,
        examples=["redis://127.0.0.1:6379/0"],
        description="redis://, rediss://, unix:// or redis+sentinel:// (docs/high-availability.md); "
        "not set: demo, dev and serve run an embedded Valkey",
    )
    namespace: str = Field(
        DEFAULT_NAMESPACE,
        examples=["konvox-staging"],
        description="beginning of all names in Redis; installations that share a database need one each",
    )
    durability: Literal["fsync", "replicas", "memory"] = Field(
        "fsync", examples=["fsync"], description="what a 200 promises: fsync, replicas or memory"
    )
    allow_eviction: bool = Field(
        default=False,
        examples=["true"],
        description="whether a Redis that evicts keys when it is full causes a warning instead of being refused",
    )
    data_dir: Path = Field(
        Path(".konvox-hooks"),
        examples=["/var/lib/konvox-hooks"],
        description="folder of the spool and of the embedded Valkey's data",
    )
    spool_max_bytes: PositiveInt = Field(
        1_073_741_824, examples=["1073741824"], description="how much the spool may take on disk while Redis is away"
    )
    handlers: Words = Field(
        default=[],
        examples=["my_handlers.py"],
        description="modules or .py files with handlers, comma-separated, besides installed entry points",
    )
    host: str = Field(
        "127.0.0.1",
        examples=["127.0.0.1"],
        description="public listener: addresses, comma-separated; :: is every one, IPv4 included",
    )
    port: Port = Field(8080, examples=["8080"], description="public listener: port; 0: any free one")
    idle_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        75.0,
        examples=["75"],
        description="how long a connection may be idle: longer than a proxy in front keeps it",
    )
    trusted_proxies: Words = Field(
        default=[],
        examples=["10.0.0.0/8"],
        description="proxies whose X-Forwarded-For or Forwarded is believed: addresses or networks, comma-separated",
    )
    admin_host: str = Field(
        "127.0.0.1", examples=["127.0.0.1"], description="admin listener: addresses, as for the public one"
    )
    admin_names: Words = Field(
        default=[],
        examples=["worker.internal"],
        description="host names by which the admin listener may be asked besides localhost, comma-separated",
    )
    admin_port: Port = Field(8081, examples=["8081"], description="admin listener: port; 0: any free one")
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)] = Field(
        "info", examples=["info"], description="debug, info, warning, error or critical"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", examples=["json"], description="auto: readable on a terminal, JSON otherwise; json; console"
    )
    max_body_bytes: PositiveInt = Field(1_048_576, examples=["1048576"], description="largest request body")
    dedupe_seconds: PositiveInt = Field(
        604_800, examples=["604800"], description="how long the same event counts as a duplicate"
    )
    lease_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        15.0, examples=["15"], description="how soon a crashed worker's events run again elsewhere"
    )
    concurrency: PositiveInt = Field(100, examples=["100"], description="events in flight per worker")
    log_retention_seconds: PositiveInt = Field(
        604_800, examples=["604800"], description="how long delivered events stay in the log"
    )
    stop_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        20.0, examples=["20"], description="time for handlers and requests to finish after SIGTERM"
    )

    _sources: dict[str, Source] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the arguments only. `load_settings` reads the sources, because it records where each value came from."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @field_validator("api_url")
    @classmethod
    def _check_api_url(cls, value: str | None) -> str | None:
        return None if value is None else api_base_url(value)

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _API_KEY.fullmatch(value.get_secret_value()):
            raise ValueError("a key has neither white space nor characters beyond ASCII")
        return value

    @field_validator("api_paths")
    @classmethod
    def _check_api_paths(cls, entries: list[str]) -> list[str]:
        resource_paths(entries)
        return entries

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        return None if value is None else public_origin(value)

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(redis_address(value.get_secret_value()))

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, name: str) -> str:
        if not NAMESPACE.fullmatch(name):
            raise ValueError("up to 64 of A-Z a-z 0-9 . _ -, a letter or digit first, and not arq")
        return name

    @field_validator("host", "admin_host")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        if not listening_hosts(value):
            raise ValueError("this names no address")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, entries: list[str]) -> list[str]:
        trusted_networks(entries)
        return entries

    @field_validator("hook_tokens")
    @classmethod
    def _check_hook_tokens(cls, tokens: list[SecretStr]) -> list[SecretStr]:
        for position, token in enumerate(tokens, start=1):
            text = token.get_secret_value()
            if text.strip() and not _TOKEN.fullmatch(text):
                raise ValueError(
                    f"token {position} of {len(tokens)} has characters other than A-Z a-z 0-9 . _ ~ -; make one: "
                    + strength.RANDOM_TEXT_COMMAND
                )
            strength.refuse_weak(text, f"token {position} of {len(tokens)}")
        return tokens

    @field_validator("signature_header")
    @classmethod
    def _check_signature_header(cls, name: str) -> str:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("this is not a header's name")
        return name

    @field_validator("signing_secrets")
    @classmethod
    def _check_signing_secrets(cls, secrets: list[SecretStr], info: ValidationInfo) -> list[SecretStr]:
        # `signature` is declared, and so checked, before; it is missing here if it has a fault of its own.
        if not secrets and info.data.get("signature", "off") != "off":
            raise ValueError(f"{variable_of('signature')}={info.data['signature']} needs at least one secret")
        for position, secret in enumerate(secrets, start=1):
            strength.refuse_weak(secret.get_secret_value(), f"secret {position} of {len(secrets)}")
        if info.data.get("signature") == "standard-webhooks":
            for position, secret in enumerate(secrets, start=1):
                _check_standard_secret(secret, f"secret {position} of {len(secrets)}")
        return secrets

    @property
    def spool_dir(self) -> Path:
        """The folder that takes events while Redis is away."""
        return self.data_dir / SPOOL

    @property
    def challenges_dir(self) -> Path:
        """The folder that notes which challenges of `register` and `doctor` were answered."""
        return self.data_dir / CHALLENGES

    def konvox_paths(self) -> inferred.Paths:
        """The paths of the Konvox API's resources."""
        return resource_paths(self.api_paths)

    def konvox_secret_fields(self) -> Sequence[str]:
        """The fields that may hold a new webhook's signing secret."""
        return self.api_secret_fields or inferred.SECRET_FIELDS

    @property
    def admin_hosts(self) -> Sequence[str]:
        """The names and addresses by which a request may call the admin listener."""
        return [*listening_hosts(self.admin_host), *self.admin_names]

    def require_authentication(self) -> None:
        """Refuse a configuration in which no request could be accepted. Called before a receiver starts.

        Raises:
            UsageError: neither a URL token nor a signature is configured.
        """
        if self.accounts_file is None and not self.hook_tokens and self.signature == "off":
            raise UsageError(
                "neither a URL token nor a signature is configured, so nobody could deliver: "
                f"set {variable_of('hook_tokens')} to what this prints: {strength.RANDOM_TEXT_COMMAND}"
            )

    def effective(self) -> list[EffectiveValue]:
        """Every setting with its value, secrets masked, and the value's source."""
        return [
            EffectiveValue(variable_of(name), _shown(name, getattr(self, name)), self._sources.get(name, "default"))
            for name in Settings.model_fields
        ]


SECRET_FIELDS: Final = ("api_key", "hook_tokens", "signing_secrets", "redis_url")
"""The settings that may also come from a file, and that are masked in all output."""

SECRET_VARIABLES: Final = tuple(PREFIX + name.upper() for name in SECRET_FIELDS)


def _check_standard_secret(secret: SecretStr, which: str) -> None:
    try:
        standard_key(secret.get_secret_value())
    except ValueError:
        # The library's own message may quote the secret.
        raise ValueError(f"{which} is not {STANDARD_SECRET_PREFIX} and base64, as standard-webhooks has it") from None


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def example_of(name: str) -> str:
    """A valid value of a setting, for messages."""
    examples = Settings.model_fields[name].examples or []
    return str(examples[0])


def _shown(name: str, value: object) -> str:
    if value is None or value == []:
        return NOT_SET
    if name == "redis_url" and isinstance(value, SecretStr):
        return mask_redis_address(value.get_secret_value())
    if name in SECRET_FIELDS:
        return f"{MASK} ({len(value)})" if isinstance(value, list) else MASK
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).removesuffix(".0")
