"""Mistyped names of events: "did you mean contact.replied?". Called by the commands that take names of events.

Konvox may send events that it does not document, so an unknown name alone is no mistake. A name that is nearly that of
a documented event most likely is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final

from konvox.events import EVENT_MODELS
from konvox_hooks.errors import UsageError

UNDOCUMENTED_OPTION: Final = "--undocumented"
"""The option that allows a name although it is nearly that of a documented event."""

UNDOCUMENTED_HELP: Final = "Take an event's name as it is, although it is nearly that of a documented event."

_CUTOFF: Final = 0.75
"""How similar two names must be, from 0 to 1."""


def nearly(name: str, known: Collection[str] = tuple(EVENT_MODELS)) -> str | None:
    """The known event that was probably meant; None if the name is known itself, is a wildcard, or is like none."""
    if name in known or "*" in name:
        return None
    plain = {event.casefold().replace("_", "."): event for event in known}
    [*found] = get_close_matches(name.strip().casefold().replace("_", "."), plain, n=1, cutoff=_CUTOFF)
    return plain[found[0]] if found else None


def did_you_mean(name: str, known: Collection[str] = tuple(EVENT_MODELS)) -> str:
    """The question as a whole sentence; empty if there is nothing to ask."""
    meant = nearly(name, known)
    return f"Konvox documents no event {name}: did you mean {meant}?" if meant else ""


def refuse_mistyped(names: Iterable[str], *, undocumented: bool) -> None:
    """Refuse names that are probably mistyped.

    Args:
        names: of events, as the user gave them.
        undocumented: whether the user said that they are meant.

    Raises:
        UsageError: one line for each of them.
    """
    questions = [] if undocumented else [question for name in names if (question := did_you_mean(name))]
    if questions:
        raise UsageError("\n".join(f"{question} ({UNDOCUMENTED_OPTION} takes it as it is)" for question in questions))
