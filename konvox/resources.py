"""The records that the Konvox API returns, as models with snake_case attributes; unknown fields are kept.

The API client makes them from answers. Konvox documents its records only in part, so reading is lenient
(`konvox.wire`): a value that an enumeration does not list becomes an `UnknownValue` (a `str`), and only the `id` is
required.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationInfo, model_validator

from konvox import inferred
from konvox.wire import AnyText, OtherForms, Readable, UnknownValue, WireModel, json_text

CampaignStatus: TypeAlias = Literal["draft", "active", "paused", "completed"]
CampaignStatusChange: TypeAlias = Literal["active", "paused", "completed"]
CampaignChannel: TypeAlias = Literal["email", "linkedin", "multi"]
ContactStatus: TypeAlias = Literal["active", "unsubscribed", "bounced"]
ConnectionPlatform: TypeAlias = Literal["linkedin", "email", "twitter", "instagram"]
ConnectionMethod: TypeAlias = Literal[
    "socialcrabs", "oauth_personal", "oauth_company", "oauth_page", "oauth_konvox_app", "oauth_own_app"
]

T = TypeVar("T")


def _counts(value: Any) -> dict[str, int]:
    """The counts of an object that also holds other things, or is none."""
    return {
        state: count
        for state, count in (value.items() if isinstance(value, Mapping) else ())
        if isinstance(count, int) and not isinstance(count, bool)
    }


def _names(value: Any) -> tuple[str, ...]:
    """The names in a list that holds other things too, or the one name that is there without a list."""
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(json_text(name) for name in values if name is not None)


def _active(value: Any) -> bool:
    """Konvox's default, unless it says something. What that means is not known: surely nobody may rely on it."""
    return value is None


def _no_url(_: Any) -> str:
    return ""  # not its JSON text: no rule would find the token in that, and mask it


class Record(WireModel):
    """The fields of every record of Konvox. Ids are opaque strings; the names of the time fields are [inferred]."""

    id: str
    created_at: Readable[datetime] = Field(default=None, alias=inferred.CREATED_AT_FIELD)
    updated_at: Readable[datetime] = Field(default=None, alias=inferred.UPDATED_AT_FIELD)


class Campaign(Record):
    """An outreach campaign. `targets_by_state` counts its enrollments by state; only list and get always have it."""

    name: AnyText = None
    channel: CampaignChannel | UnknownValue | None = None
    status: CampaignStatus | UnknownValue | None = None
    profile_id: AnyText = None
    sender_identity_id: AnyText = None
    targets_by_state: Annotated[Mapping[str, int], OtherForms(_counts)] = Field(default_factory=dict)


class Contact(Record):
    """A person to write to."""

    email: AnyText = None
    first_name: AnyText = None
    last_name: AnyText = None
    company_name: AnyText = None
    linkedin_url: AnyText = None
    title: AnyText = None
    status: ContactStatus | UnknownValue | None = None


class SenderIdentity(Record):
    """A sender address. The names of the fields for `address`, `daily_limit` and `warmup` are [inferred]."""

    local_part: AnyText = None
    display_name: AnyText = None
    address: Readable[str] = Field(default=None, alias=inferred.SENDER_ADDRESS_FIELD)
    daily_limit: Readable[int] = Field(default=None, alias=inferred.SENDER_DAILY_LIMIT_FIELD)
    warmup: Any = Field(default=None, alias=inferred.SENDER_WARMUP_FIELD)


class Connection(Record):
    """A login on a channel. Konvox never returns its secrets or passwords."""

    name: AnyText = None
    platform: ConnectionPlatform | UnknownValue | None = None
    connection_method: ConnectionMethod | UnknownValue | None = None
    username: AnyText = None


class Webhook(Record):
    """A registration at Konvox: a URL, and the events that Konvox delivers to it.

    Its repr shows neither the URL, whose path may hold a token, nor a signing secret, nor unknown fields. The secret
    is not in `model_dump()` either.
    """

    url: Annotated[str, OtherForms(_no_url)] = Field(default="", repr=False)
    events: Annotated[tuple[str, ...], OtherForms(_names)] = ()
    active: Annotated[bool, OtherForms(_active)] = True

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
