"""The events that Konvox sends, as the handlers see them: typed where Konvox documents them, plain otherwise.

Called by the worker to turn a stored body into the object that a handler receives, and imported by users for
annotations. The fields are those of Konvox's webhook event reference (mid 2026); unknown fields are kept as they came.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from konvox.envelope import parse_envelope
from konvox.errors import EventDoesNotFitError


class WireModel(BaseModel):
    """snake_case in Python, camelCase on the wire, unknown fields kept, values never changed after the fact."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Receipt(NamedTuple):
    """What the wire does not say about an event.

    Attributes:
        event_id: `evt_…`, minted from the content.
        raw: the exact body.
        replayed: whether an operator sent it again on purpose.
        account: the account that it came in by; empty where there is only one.
    """

    event_id: str = ""
    raw: bytes = b""
    replayed: bool = False
    account: str = ""


class Event(WireModel):
    """Any event, of a type that we know or not. `data` is the plain mapping that came.

    `timestamp` and `company_id` are None where the body has none that can be read: such an event is kept and handled
    all the same.
    """

    type: str = Field(alias="event")
    timestamp: datetime | None = None
    company_id: str | None = None
    data: Any = None

    _receipt: ClassVar[Receipt] = Receipt()

    @property
    def id(self) -> str:
        """`evt_…`, the same on every delivery and in every replay: the idempotency key for whatever lies downstream."""
        return self._receipt.event_id

    @property
    def raw(self) -> bytes:
        """The exact body that Konvox sent."""
        return self._receipt.raw

    @property
    def replayed(self) -> bool:
        """Whether an operator sent this event again on purpose."""
        return self._receipt.replayed

    @property
    def account(self) -> str:
        """The account that it came in by, as KONVOX_ACCOUNTS_FILE names it; empty where there is only one."""
        return self._receipt.account

    @property
    def endpoint(self) -> str:
        """The former name of `account`."""
        return self._receipt.account

    def received_as(self, *, event_id: str, raw: bytes, replayed: bool, account: str = "") -> Self:
        """Attach what the wire does not say about an event; returns the event itself."""
        # Not pydantic's private attributes: those cost an event as much as all of its fields, and anybody may set them.
        self.__dict__["_receipt"] = Receipt(event_id, raw, replayed, account)
        return self


class ContactRepliedData(WireModel):
    """`data` of `contact.replied`. `subject` comes with email only; the ids are null if the reply is unattributed."""

    contact_id: str
    channel: Literal["email", "linkedin"]
    subject: str | None = None
    campaign_id: str | None = None
    enrollment_id: str | None = None


class EnrollmentCreatedData(WireModel):
    """`data` of `enrollment.created`."""

    enrollment_id: str
    contact_id: str
    campaign_id: str


class EnrollmentUnsubscribedData(WireModel):
    """`data` of `enrollment.unsubscribed`."""

    enrollment_id: str
    contact_id: str
    campaign_id: str
    reason: Literal["opt_out_keyword", "manual"]


class ContactReplied(Event):
    """A contact replied to an outbound email or LinkedIn message; the enrollment becomes `replied`."""

    timestamp: datetime
    company_id: str
    data: ContactRepliedData


class EnrollmentCreated(Event):
    """A contact was enrolled in a campaign; the sequence starts on the next scheduled run."""

    timestamp: datetime
    company_id: str
    data: EnrollmentCreatedData


class EnrollmentUnsubscribed(Event):
    """A contact opted out. To miss one of these is a legal problem."""

    timestamp: datetime
    company_id: str
    data: EnrollmentUnsubscribedData


EVENT_MODELS: dict[str, type[Event]] = {
    "contact.replied": ContactReplied,
    "enrollment.created": EnrollmentCreated,
    "enrollment.unsubscribed": EnrollmentUnsubscribed,
}
"""The documented events by their name on the wire."""

EVENT_NAMES: dict[type[Event], str] = {model: name for name, model in EVENT_MODELS.items()}
"""The name on the wire by model."""

_TIMESTAMP = TypeAdapter(datetime)


def typed_event(event_type: str, *, event_id: str, raw: bytes, replayed: bool = False, account: str = "") -> Event:
    """The event as its own model, or as a plain `Event` where its type has none.

    Raises:
        EventDoesNotFitError: the body does not fit the model of its type.
        MalformedEventError: the body is no event at all.
    """
    model = EVENT_MODELS.get(event_type)
    if model is None:
        return plain_event(event_id=event_id, raw=raw, replayed=replayed, account=account)
    try:
        # By Konvox's names only: a field of theirs that is named as one of ours is another field.
        event = model.model_validate_json(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        parse_envelope(raw)  # says so if it is no event at all
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise EventDoesNotFitError(event_type, faults) from None
    return event.received_as(event_id=event_id, raw=raw, replayed=replayed, account=account)


def plain_event(*, event_id: str, raw: bytes, replayed: bool = False, account: str = "") -> Event:
    """The event with `data` as it came; whatever was admitted can be had in this form.

    Raises:
        MalformedEventError: the body is no event at all.
    """
    envelope = parse_envelope(raw)
    fields = dict(envelope.fields)
    del fields["event"]
    event = Event.model_construct(
        type=envelope.type,
        timestamp=_timestamp_or_none(fields.pop("timestamp", None)),
        company_id=envelope.company_id,
        data=fields.pop("data", None),
    )
    fields.pop("companyId", None)
    # Not as arguments: a field may have any name, such as `cls`.
    event.__pydantic_extra__ = fields
    return event.received_as(event_id=event_id, raw=raw, replayed=replayed, account=account)


def _timestamp_or_none(value: object) -> datetime | None:
    try:
        return _TIMESTAMP.validate_python(value)
    except ValidationError:
        return None
