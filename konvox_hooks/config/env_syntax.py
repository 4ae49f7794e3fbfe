"""The syntax of `.env`: what a line means. Used by `config.sources` and `config.env_file`. Pure.

Nothing is interpolated: `${X}` is four characters like any others. A secret is taken literally beyond that. `#` after a
blank begins no comment, a quote that is not closed is part of the secret, and in double quotes a backslash stands for
itself, except before `"` and before another backslash.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from io import StringIO
from typing import Final

from dotenv import dotenv_values

_QUOTED: Final = {
    "'": re.compile(r"'((?:\\\\|\\'|[^'])*)'(?:[^\S\r\n]+#[^\r\n]*|[^\S\r\n]*)(?=[\r\n]|\Z)"),
    '"': re.compile(r'"((?:\\\\|\\"|[^"])*)"(?:[^\S\r\n]+#[^\r\n]*|[^\S\r\n]*)(?=[\r\n]|\Z)'),
}
"""A whole value in quotes, which may go over several lines, and the comment after it."""

_REST_OF_LINE: Final = re.compile(r"[^\r\n]*")


def read_variables(text: str, secrets: Collection[str] = ()) -> dict[str, str | None]:
    """The variables of an env file; None for a name without `=`.

    Args:
        text: of the file.
        secrets: the variables whose values are secrets.
    """
    return dict(dotenv_values(stream=StringIO(_with_plain_quotes(text, secrets), newline=""), interpolate=False))


def quoted(value: str) -> str:
    """A value in single quotes, as dotenv reads it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _with_plain_quotes(text: str, secrets: Collection[str]) -> str:
    """The text with each secret in single quotes, which leave dotenv nothing to interpret."""
    if not secrets:
        return text
    names = "|".join(map(re.escape, secrets))
    statement = re.compile(rf"^[^\S\r\n]*(?:export[^\S\r\n]+)?(?:{names})[^\S\r\n]*=[^\S\r\n]*", re.MULTILINE)
    done, parts = 0, []
    while found := statement.search(text, done):
        value, end = _secret(text, found.end())
        parts += [text[done : found.end()], quoted(value)]
        done = end
    return "".join([*parts, text[done:]])


def _secret(text: str, start: int) -> tuple[str, int]:
    """The secret that begins here, and where its statement ends."""
    quote = text[start : start + 1]
    if quote in _QUOTED and (whole := _QUOTED[quote].match(text, start)):
        return re.sub(rf"\\([\\{quote}])", r"\1", whole[1]), whole.end()
    line = _REST_OF_LINE.match(text, start)
    value = line[0].strip() if line else ""
    if len(value) > 1 and quote in _QUOTED and value.endswith(quote):
        value = value[1:-1]
    return value, line.end() if line else start
