"""Rules that several resources share. Pure: each function takes a request's fields and yields the broken rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from konvox.sandbox.envelope import RefusedError


def text_faults(fields: Mapping[str, Any], name: str, *, required: bool = False) -> Iterator[str]:
    """A text: present and not blank if it is required; otherwise it may be missing or null."""
    value = fields.get(name)
    if value is None:
        if required:
            yield f"{name} is required"
    elif not isinstance(value, str):
        yield f"{name} must be a text"
    elif required and not value.strip():
        yield f"{name} must not be blank"


def choice_faults(
    fields: Mapping[str, Any], name: str, choices: Sequence[str], *, required: bool = False
) -> Iterator[str]:
    """One of the documented values."""
    value = fields.get(name)
    if value is None and name not in fields:
        if required:
            yield f"{name} is required: one of {', '.join(choices)}"
    elif value not in choices:
        yield f"{name} must be one of {', '.join(choices)}"


def number_faults(query: Mapping[str, str], name: str, *, least: int, most: int) -> Iterator[str]:
    """A whole number in the query."""
    if name in query and not (_is_number(query[name]) and least <= int(query[name]) <= most):
        yield f"{name} must be a whole number from {least} to {most}"


def refuse(faults: Iterator[str]) -> None:
    """Refuse the request if there is a fault; the answer names all faults.

    Raises:
        RefusedError: there is a fault; status 400.
    """
    if message := "; ".join(faults):
        raise RefusedError(400, message)


def _is_number(text: str) -> bool:
    # Not int() alone: it accepts white space, underscores, digits of other scripts, and any length.
    return text.isascii() and text.isdigit() and len(text) <= 18
