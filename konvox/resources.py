"""The records that the Konvox API returns, as models with snake_case attributes; unknown fields are kept.

The API client makes them from answers. Konvox documents its records only in part, so reading is lenient: a value that
an enumeration does not list becomes an `UnknownValue` (a `str`), and very few fields are required.
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
    """A value of an enumeration that Konvox does not document (yet): the text itself.

    Code that handles all documented values can test `isinstance(value, UnknownValue)` for the rest.
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
"""A value whose field or form is [inferred]: None if it is missing or has another form; the record stays valid."""


class Record(WireModel):
    """The fields of every record of Konvox. Ids are opaque strings; the names of the time fields are [inferred]."""

    id: str
    created_at: Readable[datetime] = Field(default=None, alias=inferred.CREATED_AT_FIELD)
    updated_at: Readable[datetime] = Field(default=None, alias=inferred.UPDATED_AT_FIELD)


class Campaign(Record):
    """An outreach campaign. `targets_by_state` counts its enrollments by state; only list and get always have it."""

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
    """A sender address. The names of the fields for `address`, `daily_limit` and `warmup` are [inferred]."""

    local_part: str | None = None
    display_name: str | None = None
    address: Readable[str] = Field(default=None, alias=inferred.SENDER_ADDRESS_FIELD)
    daily_limit: Readable[int] = Field(default=None, alias=inferred.SENDER_DAILY_LIMIT_FIELD)
    warmup: Any = Field(default=None, alias=inferred.SENDER_WARMUP_FIELD)


class Connection(Record):
    """A login on a channel. Konvox never returns its secrets or passwords."""

    name: str
    platform: ConnectionPlatform | UnknownValue | None = None
    connection_method: ConnectionMethod | UnknownValue | None = None
    username: str | None = None


class Webhook(Record):
    """A registration at Konvox: a URL, and the events that Konvox delivers to it.

    Its repr shows neither the URL, whose path may hold a token, nor a signing secret, nor unknown fields. The secret
    is not in `model_dump()` either.
    """

    url: str = Field(repr=False)
    events: tuple[str, ...] = ()
    active: bool = True

    _signing_secret: str | None = PrivateAttr(default=None)

    @property
    def signing_secret(self) -> str | None:
        """The secret with which Konvox signs requests, if the answer held one. That it may is [inferred]."""
        return self._signing_secret

    @model_validator(mode="wrap")
    @classmethod
    def _extract_secret(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(value, Mapping):
            return handler(value)
        secret_fields: Sequence[str] = (info.context or {}).get("secret_fields", inferred.SECRET_FIELDS)
        webhook = handler({name: item for name, item in value.items() if name not in secret_fields})
        secrets = (value.get(name) for name in secret_fields)
        webhook._signing_secret = next((secret for secret in secrets if isinstance(secret, str) and secret), None)
        return webhook

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """The documented fields without the URL. An unknown field may hold a secret."""
        return [("id", self.id), ("events", self.events), ("active", self.active)]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One answer of a list.

    Attributes:
        items: the records, in Konvox's order.
        total: the number of records on all pages (`meta.total`), or None if Konvox does not say it.
    """

    items: tuple[T, ...]
    total: int | None
