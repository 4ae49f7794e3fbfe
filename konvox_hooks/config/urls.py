"""Which URLs are valid in the settings. Pure: each function takes a text, and returns the text to use or raises.

No message quotes the value: a URL may hold a password, and somebody may have put a secret into the wrong variable.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from broker.redis.sentinel_url import is_sentinel_url, parse_sentinel_url
from konvox.errors import InvalidUrlError
from konvox.urls import MASK, check_web_url

_DATABASE = re.compile(r"/?|/\d+")
_REDIS_FORM = (
    "after the scheme come a host, a port and the number of a database; "
    "a password with characters such as / # ? @ must be percent-encoded"
)


def public_origin(value: str) -> str:
    """An HTTPS origin without a slash at its end. Plain HTTP is accepted for this machine only.

    Raises:
        ValueError: it is none.
    """
    parts = _split_web_url(value)
    if parts.path not in {"", "/"}:
        raise ValueError("this must end after the host: konvox-hooks adds the path")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def api_base_url(value: str) -> str:
    """A base URL without a slash at its end. Plain HTTP is accepted for this machine only.

    Raises:
        ValueError: it is none.
    """
    parts = _split_web_url(value)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def redis_address(value: str) -> str:
    """A `redis://`, `rediss://`, `unix://` or `redis+sentinel://` URL, unchanged.

    Raises:
        ValueError: it is none.
    """
    if is_sentinel_url(value):
        _refuse_white_space(value)
        parse_sentinel_url(value)
        return value
    parts = _split(value, otherwise=_REDIS_FORM)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("this must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://")
    if parts.scheme == "unix":
        if parts.path in {"", "/"}:
            raise ValueError("the path of the socket is missing")
    elif not parts.hostname or not _DATABASE.fullmatch(parts.path) or parts.fragment:
        raise ValueError(_REDIS_FORM)
    return value


def mask_redis_address(value: str) -> str:
    """The URL without user, password and query; a query can hold a password too."""
    parts = urlsplit(value)
    credentials, _, place = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{MASK + '@' if credentials else ''}{place}{parts.path}"
    return f"{shown}?{MASK}" if parts.query else shown


def _split_web_url(value: str) -> SplitResult:
    try:
        parts = check_web_url(value)
    except InvalidUrlError as error:
        raise ValueError(f"this {error.fault}") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("this must not hold a user, a password, a query or a fragment")
    return parts


def _refuse_white_space(value: str) -> None:
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("a URL must not hold white space or control characters")


def _split(value: str, *, otherwise: str) -> SplitResult:
    _refuse_white_space(value)
    try:
        parts = urlsplit(value)
        _ = parts.port  # urllib checks the port when it is read
    except ValueError:
        # Without urllib's reason, which quotes the value.
        raise ValueError(otherwise) from None
    return parts
