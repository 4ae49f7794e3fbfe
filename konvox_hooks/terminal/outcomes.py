"""How commands show the outcomes of an event's handlers. Called by `events show` and `trigger --wait`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from konvox_hooks.terminal.formatting import shown_time
from konvox_hooks.terminal.output import print_table

_COLUMNS: Final = ("HANDLER", "STATE", "ATTEMPTS", "AT", "ERROR")


def print_outcomes(outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a table of outcomes by handler; nothing if there is none."""
    if outcomes:
        print_table(_COLUMNS, [_row(name, outcome) for name, outcome in outcomes.items()])


def _row(handler: str, outcome: Mapping[str, Any]) -> tuple[object, ...]:
    return handler, outcome["state"], outcome["attempts"], shown_time(outcome["at_ms"]), outcome.get("error")
