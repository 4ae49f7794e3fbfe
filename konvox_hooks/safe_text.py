"""Text from outside, made safe for a terminal and for logs: it controls nothing, and begins no line of its own. Pure.

Events, errors and tracebacks come from other people. What may not come out are control characters (escape sequences of
a terminal), the marks that turn the direction of writing, characters without width, and line ends of other scripts. All
output of commands and all log lines pass through here.
"""

from __future__ import annotations

import re
import unicodedata

_BEYOND_ASCII = re.compile(r"[^\x00-\x7e]")
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


def safe_line(text: str) -> str:
    """A text on one line, with a space for each character that is not printable."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def safe_lines(text: str, *, indent: str = "") -> str:
    """A text of several lines, each of them safe and indented. Only a line feed ends a line."""
    return "\n".join(indent + safe_line(line) for line in text.replace("\r\n", "\n").split("\n"))


def escaped_line(text: str) -> str:
    """A text on one line, with a Python escape for each character that is not printable."""
    return text if text.isprintable() else _NOT_PLAIN.sub(_python_escape, text)


def safe_json(document: str) -> str:
    """A JSON document with the same values, and a JSON escape for each character that is not printable.

    JSON itself escapes the control characters of ASCII only.
    """
    return document if document.isprintable() else _BEYOND_ASCII.sub(_json_escape, document)


def _python_escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _json_escape(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
