"""What the Konvox API returns, as models: snake_case attributes, unknown fields kept.

Made by the API client from its answers. Reading is lenient, because Konvox documents its records in part only: a value
that an enumeration does not list comes as an `UnknownValue` (a `str`), and only what a record cannot be without is
required.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from konvox import inferred
from konvox.events import WireModel

CampaignStatus: TypeAlias = Literal["draft", "active", "paused", "completed"]
CampaignStatusChange: TypeAlias = Literal["active", "paused", "completed"]
CampaignChannel: TypeAlias = Literal["email", "linkedin", "multi"]
ContactStatus: TypeAlias = Literal["active", "unsubscribed", "bounced"]
ConnectionPlatform: TypeAlias = Literal["linkedin", "email", "twitter", "instagram"]
ConnectionMethod: TypeAlias = Literal[
    "socialcrabs", "oauth_personal", "oauth_company", "oauth_page", "oauth_konvox_app", "oauth_own_app"
]

T = TypeVar("T")


class UnknownValue(str):
    """A value of an enumeration that is not in Konvox's documentation (yet). It is the text that came.

    After the documented values are dealt with, `isinstance(value, UnknownValue)` is what is left to handle.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take any text."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


def _none_if_unreadable(value: Any, handler: Callable[[Any], Any]) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


Readable: TypeAlias = Annotated[T | None, WrapValidator(_none_if_unreadable)]
"""A value whose name or form is only inferred: None where it is missing or different, never a refusal of the record."""


class Record(WireModel):
    """What every record of Konvox has. Ids are opaque strings; the names of the fields with times are [inferred]."""

    id: str
    created_at: Readable[datetime] = Field(default=None, alias=inferred.CREATED_AT_FIELD)
    updated_at: Readable[datetime] = Field(default=None, alias=inferred.UPDATED_AT_FIELD)


class Campaign(Record):
    """An outreach campaign. `targets_by_state` counts its enrollments by state; only list and get promise it."""

    name: str
    channel: CampaignChannel | UnknownValue | None = None
    status: CampaignStatus | UnknownValue | None = None
    profile_id: str | None = None
    sender_identity_id: str | None = None
    targets_by_state: Annotated[Mapping[str, int], BeforeValidator(lambda value: {} if value is None else value)] = (
        Field(default_factory=dict)
    )


class Contact(Record):
    """A person to write to."""

    email: str
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None
    linkedin_url: str | None = None
    title: str | None = None
    status: ContactStatus | UnknownValue | None = None


class SenderIdentity(Record):
    """A sender address. `address`, `daily_limit` and `warmup` are read from fields whose names are [inferred]."""

    local_part: str | None = None
    display_name: str | None = None
    address: Readable[str] = Field(default=None, alias=inferred.SENDER_ADDRESS_FIELD)
    daily_limit: Readable[int] = Field(default=None, alias=inferred.SENDER_DAILY_LIMIT_FIELD)
    warmup: Any = Field(default=None, alias=inferred.SENDER_WARMUP_FIELD)


class Connection(Record):
    """An account on a channel. Konvox never returns its secrets or passwords."""

    name: str
    platform: ConnectionPlatform | UnknownValue | None = None
    connection_method: ConnectionMethod | UnknownValue | None = None
    username: str | None = None


class Webhook(Record):
    """An endpoint that Konvox delivers events to.

    Neither the URL (its path may hold the token that lets Konvox in) nor a signing secret nor any field unknown to us
    shows in its repr, and the secret does not show in `model_dump()` either.
    """

    url: str = Field(repr=False)
    events: tuple[str, ...] = ()
    active: bool = True

    _signing_secret: str | None = PrivateAttr(default=None)

    @property
    def signing_secret(self) -> str | None:
        """The secret with which Konvox signs its deliveries, where the answer held one. That it may is [inferred]."""
        return self._signing_secret

    @model_validator(mode="wrap")
    @classmethod
    def _set_secret_apart(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(value, Mapping):
            return handler(value)
        secret_fields: Sequence[str] = (info.context or {}).get("secret_fields", inferred.SECRET_FIELDS)
        webhook = handler({name: item for name, item in value.items() if name not in secret_fields})
        secrets = (value.get(name) for name in secret_fields)
        webhook._signing_secret = next((secret for secret in secrets if isinstance(secret, str) and secret), None)
        return webhook

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """The documented fields without the URL: an unknown field may be a secret by another name."""
        return [("id", self.id), ("events", self.events), ("active", self.active)]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One answer of a list.

    Attributes:
        items: the records, in Konvox's order.
        total: how many there are on all pages (`meta.total`), or None where Konvox does not say.
    """

    items: tuple[T, ...]
    total: int | None
