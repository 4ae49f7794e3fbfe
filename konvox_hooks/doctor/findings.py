"""What a check finds, and how the checks of one run share what they know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from handlers.registry import Registry
from konvox_hooks.config.settings import Settings, variable_of

State = Literal["ok", "warning", "fault"]
"""`warning`: works, and needs a person; `fault`: does not work, or will lose events."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        state: how it is.
        message: what was found; nothing of a secret.
        hint: what to do about it; empty where all is well.
    """

    check: str
    state: State
    message: str
    hint: str = ""


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, hint: str) -> Finding:
    """Works, and needs a person."""
    return Finding(check, "warning", message, hint)


def fault(check: str, message: str, hint: str) -> Finding:
    """Does not work, or will lose events."""
    return Finding(check, "fault", message, hint)


def not_checked(check: str, why: str, hint: str) -> Finding:
    """Could not be looked at."""
    return warning(check, f"not checked: {why}", hint)


@dataclass(slots=True)
class Subject:
    """What is examined.

    Attributes:
        settings: the settings, with defaults in the place of those at fault.
        faults: a line for each setting at fault, by its name.
        registry: the handlers, once they have been loaded.
        account: whose settings they are, where there are several accounts.
    """

    settings: Settings
    faults: Mapping[str, str] = field(default_factory=dict)
    registry: Registry | None = None
    account: str = ""

    def faulty(self, *names: str) -> str:
        """Which of these settings are at fault, in words; empty for none."""
        return ", ".join(variable_of(name) for name in names if name in self.faults)


Findings = AsyncIterator[Finding]
Check = Callable[[Subject], Findings]
"""Looks at one part, and yields what it finds, the first before the last can fail."""
