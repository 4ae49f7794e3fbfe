"""How `konvox-hooks api` shows Konvox's records, with secrets masked. Pure.

Konvox's documentation says that it never returns secrets, but the field of a webhook's signing secret is only inferred.
Therefore every field with the name of a secret is masked. A webhook's URL is masked too unless the user asks for it,
because its path may hold a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from pydantic_core import to_json

from konvox.inferred import CREATED_AT_FIELD, UPDATED_AT_FIELD
from konvox.resources import Campaign, Connection, Contact, Record, SenderIdentity, Webhook
from konvox.samples import wire_timestamp
from konvox.urls import MASK
from konvox_hooks.registration.plan import masked

RecordT = TypeVar("RecordT", bound=Record)

_SECRET_NAME: Final = re.compile(
    r"(secret|token|password|credential|(api|access|private|signing)[_-]?key)s?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Listing(Generic[RecordT]):
    """How to show a list of records as a table.

    Attributes:
        noun: what the records are called, in the plural.
        columns: the header.
        row: returns the cells of one record.
    """

    noun: str
    columns: tuple[str, ...]
    row: Callable[[RecordT], Sequence[object]]


def wire(record: Record, *, show_urls: bool = False) -> dict[str, Any]:
    """A record in the API's form, with unknown fields, and with secrets masked.

    Args:
        record: the record.
        show_urls: do not mask a webhook's URL, which may hold a token.
    """
    fields = record.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for name, moment in ((CREATED_AT_FIELD, record.created_at), (UPDATED_AT_FIELD, record.updated_at)):
        if name in fields:
            del fields[name]  # moved to the end, which reads best
            fields[name] = _time(moment)
    hidden = record if isinstance(record, Webhook) and not show_urls else None
    return {name: _presentable(name, value, hidden) for name, value in fields.items()}


def cells(listing: Listing[RecordT], record: RecordT, *, show_urls: bool) -> Sequence[object]:
    """The cells of one record. One that is no object has no fields: what it is stands in the place of its id."""
    row = listing.row(record)
    return row if record.id else (_cell(wire(record, show_urls=show_urls).get("value")), *row[1:])


def as_rows(fields: Mapping[str, Any]) -> list[tuple[str, object]]:
    """One record as the rows of a table, each with a field and its value."""
    return [(name, _cell(value)) for name, value in fields.items()]


def _presentable(name: str, value: Any, hidden: Webhook | None) -> Any:
    if isinstance(value, Mapping):
        return {key: _presentable(key, item, hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [_presentable(name, item, hidden) for item in value]
    if value is None or isinstance(value, bool):
        return value  # whether there is a secret is no secret
    if _SECRET_NAME.search(name):
        return MASK
    return _without_url(value, hidden) if isinstance(value, str) and hidden else value


def _without_url(text: str, webhook: Webhook) -> str:
    """A text of a webhook without the token in its URL. Unknown fields may repeat the URL, or hold it instead."""
    if webhook.url:
        return text.replace(webhook.url, masked(webhook.url))
    return MASK if "/" in text else text


def _cell(value: Any) -> object:
    return value if value is None or isinstance(value, str) else to_json(value).decode()


def _targets(campaign: Campaign) -> str:
    return ", ".join(f"{state} {count}" for state, count in campaign.targets_by_state.items())


def _time(moment: datetime | None) -> str | None:
    """A time in Konvox's format, or in Python's where that is not possible."""
    if moment is None:
        return None
    try:
        return wire_timestamp(moment)
    except (ValueError, OverflowError):  # without a time zone, or at an end of the calendar
        return moment.isoformat()


def _sender_row(sender: SenderIdentity) -> tuple[object, ...]:
    address = sender.address or sender.local_part
    return sender.id, address, sender.display_name, sender.daily_limit, _cell(sender.warmup)


CAMPAIGNS: Final[Listing[Campaign]] = Listing(
    "campaigns",
    ("ID", "NAME", "CHANNEL", "STATUS", "TARGETS", "CREATED"),
    lambda it: (it.id, it.name, it.channel, it.status, _targets(it), _time(it.created_at)),
)
CONTACTS: Final[Listing[Contact]] = Listing(
    "contacts",
    ("ID", "EMAIL", "FIRST NAME", "LAST NAME", "COMPANY", "TITLE", "STATUS"),
    lambda it: (it.id, it.email, it.first_name, it.last_name, it.company_name, it.title, it.status),
)
SENDERS: Final[Listing[SenderIdentity]] = Listing(
    "sender identities", ("ID", "ADDRESS", "DISPLAY NAME", "DAILY LIMIT", "WARMUP"), _sender_row
)
CONNECTIONS: Final[Listing[Connection]] = Listing(
    "connections",
    ("ID", "NAME", "PLATFORM", "METHOD", "USERNAME"),
    lambda it: (it.id, it.name, it.platform, it.connection_method, it.username),
)


def webhooks_listing(*, show_urls: bool) -> Listing[Webhook]:
    """How to show webhooks as a table."""
    return Listing(
        "webhooks",
        ("ID", "URL", "EVENTS", "ACTIVE", "CREATED"),
        lambda it: (
            it.id,
            it.url if show_urls or not it.url else masked(it.url),
            ", ".join(it.events),
            "yes" if it.active else "no",
            _time(it.created_at),
        ),
    )
