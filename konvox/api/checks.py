"""Find arguments that Konvox would refuse before they are sent. Pure; called by `calls`.

Each function raises `InvalidArgumentError`. No message holds the value, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args
from urllib.parse import quote

from pydantic.alias_generators import to_camel

from konvox.errors import InvalidArgumentError, InvalidUrlError
from konvox.urls import check_web_url

MAX_LIMIT = 200
"""The most records that Konvox returns on one page."""

_LOCAL_PART = re.compile(r"[a-z0-9-]+")


def wire_fields(**arguments: Any) -> dict[str, Any]:
    """The arguments by their names in Konvox's JSON, without those that are None."""
    return {to_camel(name): value for name, value in arguments.items() if value is not None}


def text(argument: str, value: object) -> str:
    """Require a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(f"{argument} must be a text that is not blank", argument=argument)
    return value


def path_segment(argument: str, value: object) -> str:
    """Require an id, and quote it as one segment of a path. `..` is refused: it would lead to another path."""
    segment = quote(_utf8(argument, text(argument, value)), safe="")
    if segment.strip(".") == "":
        raise InvalidArgumentError(f"{argument} must be the id of a record", argument=argument)
    return segment


def one_of(argument: str, value: object, literal: Any) -> None:
    """Require one of the values of a `Literal`, or None."""
    if value is not None:
        required_one_of(argument, value, literal)


def required_one_of(argument: str, value: object, literal: Any) -> None:
    """Require one of the values of a `Literal`."""
    values = get_args(literal)
    if value not in values:
        raise InvalidArgumentError(f"{argument} must be one of {', '.join(values)}", argument=argument)


def paging(limit: object, offset: object) -> None:
    """Require a limit that Konvox accepts, and a valid offset."""
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgumentError(f"limit must be a whole number from 1 to {MAX_LIMIT}", argument="limit")
    if type(offset) is not int or offset < 0:
        raise InvalidArgumentError("offset must be a whole number from 0", argument="offset")


def some_change(changes: Mapping[str, Any]) -> None:
    """Require that an update changes something."""
    if not changes:
        raise InvalidArgumentError("an update needs at least one field to change")


def sender_for_channel(channel: str, sender_identity_id: str | None) -> None:
    """Require a sender identity for an email campaign."""
    if channel == "email" and not sender_identity_id:
        message = "an email campaign needs sender_identity_id, the id of a sender identity"
        raise InvalidArgumentError(message, argument="sender_identity_id")


def local_part(value: object) -> None:
    """Require lowercase letters, digits and hyphens."""
    if not isinstance(value, str) or not _LOCAL_PART.fullmatch(value):
        raise InvalidArgumentError("local_part must be lowercase letters, digits and hyphens", argument="local_part")


def disclaimer(connection_method: str, *, accepted: bool | None) -> None:
    """Require that the disclaimer is accepted, where Konvox requires it."""
    if connection_method == "socialcrabs" and accepted is not True:
        message = "a socialcrabs connection needs disclaimer_accepted=True"
        raise InvalidArgumentError(message, argument="disclaimer_accepted")


def webhook_url(value: object) -> None:
    """Require a URL that Konvox can deliver to, see `konvox.urls`."""
    try:
        check_web_url(value if isinstance(value, str) else "")
    except InvalidUrlError as error:
        raise InvalidArgumentError(f"url {error.fault}", argument="url") from None


def event_names(value: object) -> tuple[str, ...]:
    """Require a list of event names. A single text is refused: it would be a list of letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidArgumentError('events must be a list of names such as ["contact.replied"]', argument="events")
    names = tuple(text("events", name) for name in value)
    if not names:
        raise InvalidArgumentError("events must name at least one event", argument="events")
    return names


def _utf8(argument: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        value = ""
    if not value:
        raise InvalidArgumentError(f"{argument} cannot be written in UTF-8", argument=argument)
    return value
