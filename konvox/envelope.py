"""From the bytes of a request to a Konvox envelope, and from the envelope to the event's id. Pure.

Called by the receiver for every request, and by import and replay for every captured line.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic_core import from_json

from konvox.errors import MalformedEventError, TooManyEventsError
from konvox.inferred import IDENTITY_FIELDS

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
"""Two characters for ten bits: the standard library's base32 takes as long as all the rest of an id."""


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_BETWEEN_ELEMENTS = re.compile(r"[ \t\r\n]*[\[,]?[ \t\r\n]*")
_element_at = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode
"""Finds the end of a JSON value. Its numbers are not converted: that takes long, and nobody wants them."""


@dataclass(slots=True)  # not frozen: that takes four times as long to make, and each event makes one
class Envelope:
    """A body that is a Konvox event. Its `data` has not been looked at.

    Attributes:
        type: the event's name, such as `contact.replied`.
        fields: the whole JSON object, as it came.
    """

    type: str
    fields: Mapping[str, Any]

    @property
    def company_id(self) -> str | None:
        """The `companyId` of the event, or None where it is missing or no text."""
        value = self.fields.get("companyId")
        return value if isinstance(value, str) else None


def parse_envelope(body: bytes) -> Envelope:
    """Read a request body as a Konvox envelope.

    It must be strict JSON in UTF-8, an object, and have a name in `event`. Nothing else is required, because a refusal
    costs the event: Konvox sends it four times in all.

    Raises:
        MalformedEventError: not JSON (NaN, lone surrogates, UTF-16, absurd depth and numbers included), or no event.
    """
    return _envelope(_parse_json(body))


def parse_delivery(body: bytes, *, most_events: int) -> Envelope | list[tuple[Envelope, bytes]]:
    """Read a request body as one Konvox envelope, or as an array of them: each with the exact text of its element.

    Args:
        body: the request body.
        most_events: how many events an array may hold.

    Raises:
        MalformedEventError: it is neither, the array is empty, or one of its elements is no event.
        TooManyEventsError: the array holds more events.
    """
    value = _parse_json(body)
    if not isinstance(value, list):
        return _envelope(value)
    if not value:
        raise MalformedEventError("the array holds no event")
    if len(value) > most_events:
        raise TooManyEventsError(most_events)
    return list(zip(_envelopes(value), _element_texts(body, len(value)), strict=True))


def without_mark(body: bytes) -> bytes:
    """A body without its byte order mark. RFC 8259 (section 8.1) lets a reader ignore one."""
    return body.removeprefix(_BYTE_ORDER_MARK)


def _parse_json(body: bytes) -> Any:
    try:
        return from_json(without_mark(body), allow_inf_nan=False)
    except ValueError as error:
        raise MalformedEventError(f"not JSON: {error}") from None


def _envelope(value: Any) -> Envelope:
    if not isinstance(value, dict):
        raise MalformedEventError(f"a JSON object is expected, this is {_json_kind(value)}")
    event_type = value.get("event")
    if not isinstance(event_type, str) or not event_type.strip():
        raise MalformedEventError('"event" must name the event, such as "contact.replied"')
    return Envelope(event_type, value)


def _envelopes(values: Sequence[Any]) -> list[Envelope]:
    envelopes = []
    for number, value in enumerate(values, start=1):
        try:
            envelopes.append(_envelope(value))
        except MalformedEventError as error:
            raise MalformedEventError(f"element {number} of the array: {error.reason}") from None
    return envelopes


def _element_texts(body: bytes, count: int) -> list[bytes]:
    """The exact text of each element of an array that is known to be good JSON."""
    text = without_mark(body).decode()
    texts = []
    end = 0
    for _ in range(count):
        start = _end_of_gap(text, end)
        _, end = _element_at(text, start)
        texts.append(text[start:end].encode())
    return texts


def _end_of_gap(text: str, start: int) -> int:
    gap = _BETWEEN_ELEMENTS.match(text, start)
    return gap.end() if gap else start


def event_id(envelope: Envelope, identity_fields: Sequence[str] = IDENTITY_FIELDS, *, account: str = "") -> str:
    """Mint the id of an event from its content: the same event has the same id wherever and whenever it is seen.

    The id is `evt_` and 26 characters of base32 (130 bits) of the SHA-256 over the identity fields as JSON with sorted
    keys, so that neither white space nor the order of keys matters.

    Args:
        envelope: the event.
        identity_fields: what tells two events apart.
        account: the account that received it. It is part of the identity: otherwise who may deliver to one account
            could send another account's event first, and that would then be the duplicate.
    """
    fields = envelope.fields
    identity = {name: fields[name] for name in identity_fields if name in fields}
    return _mint(_canonical_json(_of_account(identity, account)))


def event_id_of_message(message_id: str, position: str | None = None, *, account: str = "") -> str:
    """Mint the id of an event from its `webhook-id`, where the sender gives one (Standard Webhooks).

    That identifies the delivery. The events of an array are told apart by their position in it.
    """
    identity = {"webhook-id": message_id} if position is None else {"webhook-id": message_id, "position": position}
    return _mint(_canonical_json(_of_account(identity, account)))


def _of_account(identity: dict[str, Any], account: str) -> dict[str, Any]:
    """The identity of an event within an account. The nameless account adds nothing."""
    return {**identity, "account": account} if account else identity


def _mint(identity: bytes) -> str:
    digest = hashlib.sha256(identity).digest()
    # Thirteen pairs for 130 bits: three times five bytes, and ten more bits. A loop over one large number is slower.
    pairs, number = _PAIRS, int.from_bytes
    a, b, c = number(digest[:5], "big"), number(digest[5:10], "big"), number(digest[10:15], "big")
    return (
        f"evt_{pairs[a >> 30]}{pairs[a >> 20 & 1023]}{pairs[a >> 10 & 1023]}{pairs[a & 1023]}"
        f"{pairs[b >> 30]}{pairs[b >> 20 & 1023]}{pairs[b >> 10 & 1023]}{pairs[b & 1023]}"
        f"{pairs[c >> 30]}{pairs[c >> 20 & 1023]}{pairs[c >> 10 & 1023]}{pairs[c & 1023]}"
        f"{pairs[digest[15] << 2 | digest[16] >> 6]}"
    )


def _canonical_json(value: Any) -> bytes:
    # orjson fails beyond 64 bits, and writes a number that no float can hold (1e400) as null, which would make two
    # events one. It is ten times as fast as `json`, so `json` is used only where such numbers occur.
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        text = b""
    if not text or (b"null" in text and _holds_infinity(value)):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return text


def _holds_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_holds_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _json_kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
