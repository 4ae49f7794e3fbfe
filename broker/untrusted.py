"""Reading what may not be ours: anybody who writes to Redis can write anything at our keys.

Used by everything that reads the store. A value that is not as we write it is nobody's outage: it is read as if it were
not there, and the audit names it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, TypeVar

import orjson
from redis.exceptions import ResponseError

Read = TypeVar("Read")

_WRONG_TYPE = "WRONGTYPE"
_CODE = re.compile(r"[A-Z]{3,}\b")
_WHOLE = re.compile(rb"-?[0-9]{1,15}")


def is_content_fault(error: BaseException) -> bool:
    """Whether Redis refused a command because of what stands at a key. Pure.

    All other refusals are about the server (full, read-only, loading, forbidden) and begin with a code.
    """
    if type(error) is not ResponseError:
        return False
    text = str(error)
    return text.startswith(_WRONG_TYPE) or _CODE.match(text) is None


async def or_empty(answer: Awaitable[Read], empty: Read) -> Read:
    """The answer to a command, or `empty` where a key has another type than ours."""
    try:
        return await answer
    except ResponseError as error:
        if not is_content_fault(error):
            raise
        return empty


def found(answer: Any, empty: Read) -> Read:
    """One answer of a pipeline, or `empty` where a key has another type than ours.

    Raises:
        ResponseError: the server refused the command for another reason.
    """
    if isinstance(answer, Exception):
        if not is_content_fault(answer):
            raise answer
        return empty
    value: Read = answer
    return value


def text_of(value: bytes) -> str:
    """A name or an id as text. Bytes that are no UTF-8 survive in it, and go back to Redis as they came."""
    return value.decode("utf-8", "surrogateescape")


def whole_number(value: bytes | None) -> int | None:
    """A count, or None where there is none or something else stands there. Pure."""
    return int(value) if value is not None and _WHOLE.fullmatch(value) else None


def json_object(value: bytes | None) -> dict[str, Any]:
    """A JSON object; empty where there is none or something else stands there. Pure."""
    try:
        read = orjson.loads(value or b"")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
