"""The values of a log line: redacted, bounded, and of JSON types only. Used by `process.logging`. Pure.

Values come from libraries and from users' handlers. Their texts may hold a secret or be of any size, and making a text
may fail. A secret that is cut in two is masked before it is cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from receiver.paths import TOKEN_IN_TEXT
from worker.running.tracebacks import shortened

REDACTED: Final = "***"

LONGEST_TEXT_CHARACTERS: Final = 20_000
"""Of one value; also of an exception."""

LONGEST_LINE_CHARACTERS: Final = 60_000
"""Of all long values of a line together; short ones come on top."""

_SHORT_CHARACTERS: Final = 200
_MOST_VALUES: Final = 500
_MOST_KEYS: Final = 100
_WINDOW_CHARACTERS: Final = 4_096
"""How far from a cut a secret may begin or end, and still be masked as a whole."""

_SECRET_KEY: Final = re.compile(
    r"(tokens?|secrets?|signatures?|passwords?|authorization|cookie|api[_-]?keys?|(^|[_-])(body|raw|redis[_-]?url))$",
    re.IGNORECASE,
)
_SECRETS_IN_TEXT: Final = (
    (TOKEN_IN_TEXT, r"\1" + REDACTED),
    (re.compile(r"(\b(?:Bearer|Basic)\s+)[^\s\"',]+", re.IGNORECASE), r"\1" + REDACTED),
    (re.compile(r"\bkvx_\w+"), "kvx_" + REDACTED),
    (re.compile(r"(\b\w{1,40}://)[^\s/@]+@"), r"\1" + REDACTED + "@"),
    (re.compile(r"(\b\w{0,40}password=)[^\s&\"'<>]+", re.IGNORECASE), r"\1" + REDACTED),
)
_DEEPEST: Final = 8
_LARGEST_INTEGER: Final = 2**63
_OUR_KEYS: Final = frozenset(
    {"event", "level", "timestamp", "logger", "event_id", "event_type", "handler", "error", "exception", "stack"}
)


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a line, by their keys. What is too much is left out, and the line says how much that is."""
    line = _Line()
    kept = list(values)
    if len(kept) > _MOST_KEYS:
        kept = [name for position, name in enumerate(kept) if position < _MOST_KEYS or name in _OUR_KEYS]
    plain = {_key(name): line.plain(name, values[name], 0) for name in kept}
    if len(kept) < len(values):
        plain["…"] = f"{len(values) - len(kept)} more values"
    return plain


def text_of(value: object) -> str:
    """The text of any object, even if making it fails."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - users' code
        return f"<{type(value).__name__} without a text>"


class _Line:
    """What one line may still take."""

    def __init__(self) -> None:
        self._characters = LONGEST_LINE_CHARACTERS
        self._values = _MOST_VALUES

    def plain(self, key: str, value: Any, depth: int) -> Any:
        """A value as JSON has it."""
        self._values -= 1
        if self._values < 0 and key not in _OUR_KEYS:
            return "…"
        if value is None or isinstance(value, bool | float):
            return value
        if _SECRET_KEY.search(key):
            return REDACTED
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            try:
                return self._container(key, value, depth + 1)
            except Exception:  # noqa: BLE001 - users' code
                return f"<{type(value).__name__} that cannot be read>"
        return self._scalar(value)

    def _container(self, key: str, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return "…"
        most = max(0, self._values) + 1
        more = [f"… {len(value) - most} more"] if len(value) > most else []
        if isinstance(value, Mapping):
            names = islice(value.items(), most)
            return {_key(name): self.plain(text_of(name), item, depth) for name, item in names} | dict.fromkeys(more)
        return [self.plain(key, item, depth) for item in islice(value, most)] + more

    def _scalar(self, value: Any) -> str | int:
        if isinstance(value, int) and -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        return self._text(f"{value:#x}" if isinstance(value, int) else text_of(value))

    def _text(self, text: str) -> str:
        if len(text) <= _SHORT_CHARACTERS:
            return _redacted(text)
        room = max(_SHORT_CHARACTERS, min(LONGEST_TEXT_CHARACTERS, self._characters))
        text = _bounded(text, room)
        self._characters -= len(text)
        return text


def _key(name: object) -> str:
    return shortened(text_of(name), _SHORT_CHARACTERS)


def _bounded(text: str, most_characters: int) -> str:
    """The text without secrets, and with at most so many characters. Secrets are looked for near the cut only."""
    half = most_characters // 2
    window = half + _WINDOW_CHARACTERS
    if len(text) <= 2 * window:
        return shortened(_redacted(text), most_characters)
    head, tail = _redacted(text[:window])[:half], _redacted(text[-window:])[-half:]
    return f"{head} … {len(text) - 2 * half} characters left out … {tail}"


def _redacted(text: str) -> str:
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text
