"""The findings of `konvox-hooks doctor`, and the subject that its checks examine. Used by all checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from handlers.registry import Registry
from konvox_hooks.config.settings import Settings, variable_of

State = Literal["ok", "warning", "fault"]
"""`warning`: it works, and a person should look; `fault`: it does not work, or will lose events."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: the name of the check.
        state: whether it is well.
        message: what was found; it holds no secret.
        hint: what to do about it; empty if it is well.
    """

    check: str
    state: State
    message: str
    hint: str = ""


def ok(check: str, message: str) -> Finding:
    """It is well."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, hint: str) -> Finding:
    """It works, and a person should look."""
    return Finding(check, "warning", message, hint)


def fault(check: str, message: str, hint: str) -> Finding:
    """It does not work, or will lose events."""
    return Finding(check, "fault", message, hint)


def not_checked(check: str, why: str, hint: str) -> Finding:
    """It could not be checked."""
    return warning(check, f"not checked: {why}", hint)


@dataclass(slots=True)
class Subject:
    """What the checks examine.

    Attributes:
        settings: the settings, with the default of each invalid one.
        faults: one line for each invalid setting, by its name.
        registry: the handlers, once `check_handlers` has loaded them.
        account: the account of the settings; empty for the default account.
        accounts: how many accounts there are.
    """

    settings: Settings
    faults: Mapping[str, str] = field(default_factory=dict)
    registry: Registry | None = None
    account: str = ""
    accounts: int = 1

    def faulty(self, *names: str) -> str:
        """The variables of those of these settings that are invalid, as one text; empty if all are valid."""
        return ", ".join(variable_of(name) for name in names if name in self.faults)


Findings = AsyncIterator[Finding]
Check = Callable[[Subject], Findings]
"""Checks one part. It yields each finding at once, and so keeps it if a later step fails."""
