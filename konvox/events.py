"""The events that handlers receive: with a model of its own for each documented type, a plain `Event` for any other.

The worker calls `typed_event` and `plain_event` on stored bodies; users import the models for annotations. The fields
come from Konvox's webhook event reference (mid 2026). Unknown fields are kept, and what a field may hold is read
leniently (`konvox.wire`): a handler that does not run because of a new `reason` is a missed opt-out.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

from pydantic import Field, ValidationError

from konvox.envelope import parse_envelope, without_mark
from konvox.errors import EventDoesNotFitError
from konvox.wire import AnyText, CompanyId, Time, UnknownValue, WireModel, time_or_none

ReplyChannel: TypeAlias = Literal["email", "linkedin"]
OptOutReason: TypeAlias = Literal["opt_out_keyword", "manual"]


class Receipt(NamedTuple):
    """What we know about an event besides its body.

    Attributes:
        event_id: `evt_…`, made from the content.
        raw: the exact body.
        replayed: whether an operator runs it again.
        account: the account that received it; empty if there is only one.
    """

    event_id: str = ""
    raw: bytes = b""
    replayed: bool = False
    account: str = ""


class Event(WireModel):
    """Any event, of a documented type or not. `data` is a plain mapping.

    `timestamp` and `company_id` are None if the body has none that can be read. Such an event is kept and handled too.
    """

    type: str = Field(alias="event")
    timestamp: Time = None
    company_id: CompanyId = None
    data: Any = None

    _receipt: ClassVar[Receipt] = Receipt()

    @property
    def id(self) -> str:
        """`evt_…`, the same in every retry and every replay: use it as idempotency key in other systems."""
        return self._receipt.event_id

    @property
    def raw(self) -> bytes:
        """The exact body that Konvox sent."""
        return self._receipt.raw

    @property
    def replayed(self) -> bool:
        """Whether an operator runs this event again with `konvox-hooks replay`."""
        return self._receipt.replayed

    @property
    def account(self) -> str:
        """The account of KONVOX_ACCOUNTS_FILE that received it; empty if there is only one."""
        return self._receipt.account

    @property
    def endpoint(self) -> str:
        """The former name of `account`."""
        return self._receipt.account

    def received_as(self, *, event_id: str, raw: bytes, replayed: bool, account: str = "") -> Self:
        """Attach what we know besides the body; returns the event itself."""
        # Not a private attribute of pydantic: that takes as much time as all other fields, and it can be overwritten.
        self.__dict__["_receipt"] = Receipt(event_id, raw, replayed, account)
        return self


class ContactRepliedData(WireModel):
    """`data` of `contact.replied`. Only email has a `subject`; the ids are None if the reply is unattributed.

    Every field may be None: Konvox may leave it out. A channel that is not documented is an `UnknownValue`, a `str`.
    """

    contact_id: str | None = None
    channel: ReplyChannel | UnknownValue | None = None
    subject: AnyText = None
    campaign_id: str | None = None
    enrollment_id: str | None = None


class EnrollmentCreatedData(WireModel):
    """`data` of `enrollment.created`. Every field may be None: Konvox may leave it out."""

    enrollment_id: str | None = None
    contact_id: str | None = None
    campaign_id: str | None = None


class EnrollmentUnsubscribedData(WireModel):
    """`data` of `enrollment.unsubscribed`.

    Every field may be None: Konvox may leave it out. A reason that is not documented is an `UnknownValue`, a `str`.
    """

    enrollment_id: str | None = None
    contact_id: str | None = None
    campaign_id: str | None = None
    reason: OptOutReason | UnknownValue | None = None


class ContactReplied(Event):
    """A contact replied to an outbound email or LinkedIn message; the enrollment becomes `replied`."""

    data: ContactRepliedData


class EnrollmentCreated(Event):
    """A contact was enrolled in a campaign; the sequence starts on the next scheduled run."""

    data: EnrollmentCreatedData


class EnrollmentUnsubscribed(Event):
    """A contact opted out. A lost event of this type is a legal problem."""

    data: EnrollmentUnsubscribedData


EVENT_MODELS: dict[str, type[Event]] = {
    "contact.replied": ContactReplied,
    "enrollment.created": EnrollmentCreated,
    "enrollment.unsubscribed": EnrollmentUnsubscribed,
}
"""The models of the documented events, by the events' names in Konvox's JSON."""

EVENT_NAMES: dict[type[Event], str] = {model: name for name, model in EVENT_MODELS.items()}
"""The names of the documented events in Konvox's JSON, by model."""


def typed_event(event_type: str, *, event_id: str, raw: bytes, replayed: bool = False, account: str = "") -> Event:
    """The event as the model of its type, or as a plain `Event` if the type has none.

    Args:
        event_type: the event's name in Konvox's JSON.
        event_id: `evt_…`.
        raw: the exact body.
        replayed: whether an operator runs it again.
        account: the account that received it; empty if there is only one.

    Raises:
        EventDoesNotFitError: the body does not fit the model of its type.
        MalformedEventError: the body is no event.
    """
    model = EVENT_MODELS.get(event_type)
    if model is None:
        return plain_event(event_id=event_id, raw=raw, replayed=replayed, account=account)
    try:
        # By Konvox's names only: a field in their JSON with the name of one of our attributes is another field.
        event = model.model_validate_json(without_mark(raw), by_alias=True, by_name=False)
    except ValidationError as error:
        parse_envelope(raw)  # raises MalformedEventError if it is no event
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise EventDoesNotFitError(event_type, faults) from None
    return event.received_as(event_id=event_id, raw=raw, replayed=replayed, account=account)


def plain_event(*, event_id: str, raw: bytes, replayed: bool = False, account: str = "") -> Event:
    """The event as a plain `Event`, which every accepted event fits. For the arguments see `typed_event`.

    Raises:
        MalformedEventError: the body is no event.
    """
    envelope = parse_envelope(raw)
    fields = dict(envelope.fields)
    del fields["event"]
    event = Event.model_construct(
        type=envelope.type,
        timestamp=time_or_none(fields.pop("timestamp", None)),
        company_id=envelope.company_id,
        data=fields.pop("data", None),
    )
    fields.pop("companyId", None)
    # Not as keyword arguments: a field may have any name, such as `cls`.
    event.__pydantic_extra__ = fields
    return event.received_as(event_id=event_id, raw=raw, replayed=replayed, account=account)
