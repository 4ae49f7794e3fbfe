"""What a `redis+sentinel://` URL says: which sentinels to ask, for which master. Pure.

    redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER[/DATABASE][?OPTION=VALUE[&…]]

The hosts and ports are those of the sentinels; the default port is 26379. User and password are those of the Redis
that they watch. With `rediss+sentinel://` both are reached over TLS. No error quotes the URL: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
EXAMPLE: Final = "redis+sentinel://:password@10.0.0.1:26379,10.0.0.2:26379,10.0.0.3:26379/mymaster/0"
DEFAULT_PORT: Final = 26379

_CREDENTIALS: Final = ("sentinel_username", "sentinel_password")
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_SWITCH: Final = "ssl_check_hostname"
_SWITCH: Final = {"true": True, "false": False}

_PLACE: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_PATH: Final = re.compile(r"(?P<master>[A-Za-z0-9._-]+)(?:/(?P<database>[0-9]{0,9}))?")
_FORM: Final = (
    "after the scheme stand the sentinels as host:port with commas between them, then /MASTER-NAME and perhaps "
    f"/DATABASE, such as {EXAMPLE}; a password with characters such as / # ? @ must be percent-encoded"
)


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Which sentinels to ask, for which master.

    Attributes:
        sentinels: host and port of each.
        master: the name by which the sentinels know the master.
        database: the number of the database there.
        username: of Redis, or None.
        password: of Redis, or None.
        sentinel_username: of the sentinels, or None.
        sentinel_password: of the sentinels, or None.
        tls: redis-py's options for TLS, or None for plain TCP.
    """

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Mapping[str, str | bool] | None = None


def is_sentinel_url(url: str) -> bool:
    """Whether a URL has a scheme of Sentinel, whether the rest is right or wrong."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def parse_sentinel_url(url: str) -> SentinelAddress:
    """Read a URL.

    Raises:
        ValueError: it is not of the form above; the message says what is wrong.
    """
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, _, places = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    where = _PATH.fullmatch(path)
    if not path.strip("/") and places:
        raise ValueError(f"the name of the master is missing: {_FORM}")
    if where is None:
        raise ValueError(_FORM)
    options = _options(query)
    return SentinelAddress(
        sentinels=tuple(_place(place) for place in places.split(",")),
        master=where["master"],
        database=int(where["database"] or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_username") or None,
        sentinel_password=options.get("sentinel_password") or None,
        tls=_tls(options, wanted=scheme.lower().startswith("rediss")),
    )


def _place(place: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ValueError(_FORM)
    port = int(found["port"] or DEFAULT_PORT)
    if not 0 < port <= 65535:
        raise ValueError("a sentinel's port must be between 1 and 65535")
    return found["host"].strip("[]"), port


def _options(query: str) -> dict[str, str]:
    """The options by name. A plus is a plus, and not a space: it may be part of a password."""
    allowed = (*_CREDENTIALS, *_TLS_FILES, _TLS_SWITCH)
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in allowed:
            raise ValueError(f"behind the question mark may stand {', '.join(allowed)}, and nothing else")
        if name in options:
            raise ValueError(f"{name} stands there twice")
        options[name] = unquote(value)
    return options


def _tls(options: Mapping[str, str], *, wanted: bool) -> Mapping[str, str | bool] | None:
    tls: dict[str, str | bool] = {name: options[name] for name in _TLS_FILES if name in options}
    if _TLS_SWITCH in options:
        if options[_TLS_SWITCH] not in _SWITCH:
            raise ValueError(f"{_TLS_SWITCH} must be true or false")
        tls[_TLS_SWITCH] = _SWITCH[options[_TLS_SWITCH]]
    if tls and not wanted:
        raise ValueError(f"{', '.join(tls)} need TLS: begin with rediss+sentinel://")
    return tls if wanted else None
