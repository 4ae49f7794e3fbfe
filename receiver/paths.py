"""The paths of the public listener: what they are, how they are read, and how they may be logged. Pure.

The one place that spells the hook's path. The receiver reads it in requests; `konvox_hooks` registers it at Konvox,
sends to it, and masks the token behind it in logs.
"""

from __future__ import annotations

import re
from typing import Final

HOOK_PATH: Final = "/hooks/konvox"
"""Where Konvox delivers; a token, if there is one, is the segment after it."""

HOOK_PATH_WITH_TOKEN: Final = HOOK_PATH + "/{token}"
"""The same with a token, as aiohttp's router writes it."""

HEALTH_PATH: Final = "/healthz"
"""Where a load balancer asks whether the receiver runs."""

PLAIN_HOOK_PATH: Final = re.compile(re.escape(HOOK_PATH) + r"(?:/([A-Za-z0-9_-]+))?/?(?:\?[^#]*)?")
"""The hook's path without anything that would have to be decoded; group 1 is the token, if there is one.

A slash at the end and a query make no difference: proxies and forms add them.
"""

TOKEN_IN_TEXT: Final = re.compile(f"({re.escape(HOOK_PATH)}" + r"(?:/|%2f|\?))[^\s\"'<>]+", re.IGNORECASE)
"""The hook's path with anything behind it, anywhere in a text; group 1 is what may be shown of it."""

_MASK: Final = "***"
_KNOWN_SEGMENTS: Final = frozenset(f"{HOOK_PATH}{HEALTH_PATH}".split("/"))


def hook_path(token: str | None) -> str:
    """The path to deliver to, with a token or without one."""
    return HOOK_PATH if token is None else f"{HOOK_PATH}/{token}"


def masked_path(path: str) -> str:
    """A request's path as it may be logged: without its query.

    Every segment that is not one of ours is masked, also in a path that does not exist: it may be a mistyped token.
    """
    segments = path.partition("?")[0].split("/")
    return "/".join(segment if segment in _KNOWN_SEGMENTS else _MASK for segment in segments)
