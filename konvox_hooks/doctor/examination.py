"""Run all checks of `konvox-hooks doctor`, and see to it that no check prevents another from running."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from itertools import chain
from typing import Final

from konvox_hooks.config.accounts import ACCOUNT_FIELDS, load_accounts
from konvox_hooks.config.load import examine_settings
from konvox_hooks.doctor.findings import Check, Finding, Subject, fault
from konvox_hooks.doctor.local import (
    check_authentication,
    check_data_folder,
    check_env_file,
    check_handlers,
    check_names,
    check_settings,
)
from konvox_hooks.doctor.remote import check_api, check_public_url
from konvox_hooks.doctor.store import check_store
from konvox_hooks.errors import UsageError

_LOCAL_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("settings", check_settings),
    ("secrets", check_env_file),
    ("handlers", check_handlers),
    ("names", check_names),
    ("data folder", check_data_folder),
)
"""Run one after the other. Later checks need the handlers that `check_handlers` loads."""

_ACCOUNT_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("authentication", check_authentication),
    ("konvox api", check_api),
    ("public url", check_public_url),
)

_CHECK_SECONDS: Final = 30.0


def read_settings() -> tuple[Subject, list[Finding]]:
    """The settings to examine, without `.env` if that cannot be read, which is a finding of its own."""
    try:
        settings, faults = examine_settings()
    except UsageError as error:
        settings, faults = examine_settings(env_file=os.devnull)
        return Subject(settings, faults), [fault("settings", str(error), "fix or remove the file")]
    return Subject(settings, faults), []


async def examine(subject: Subject) -> list[Finding]:
    """All findings, in the order of the checks."""
    findings = [finding for name, check in _LOCAL_CHECKS for finding in await _run(name, check, subject)]
    accounts, faults = _accounts(subject)
    # Concurrently: several checks that hang take one time limit together.
    found = await asyncio.gather(
        _run("redis", check_store, subject),
        *(_run(name, check, account) for account in accounts for name, check in _ACCOUNT_CHECKS),
    )
    return [*findings, *faults, *chain.from_iterable(found)]


def _accounts(subject: Subject) -> tuple[list[Subject], list[Finding]]:
    """A subject for each account, and the faults of the accounts file."""
    if subject.faulty("accounts_file"):
        return [], []
    try:
        accounts = load_accounts(subject.settings)
    except UsageError as error:
        return [], [fault("accounts", line, "fix the file") for line in str(error).splitlines()]
    shared = {name: line for name, line in subject.faults.items() if name not in ACCOUNT_FIELDS}
    return [
        replace(
            subject,
            settings=settings,
            faults=shared if name else subject.faults,
            account=name,
            accounts=len(accounts),
        )
        for name, settings in accounts.items()
    ], []


async def _run(name: str, check: Check, subject: Subject) -> list[Finding]:
    """The findings of one check. An unexpected error of the check becomes a finding too."""
    findings: list[Finding] = []
    prefix = f"[{subject.account}] " if subject.account else ""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            async for finding in check(subject):
                findings.append(finding)  # noqa: PERF401 - findings from before an error must be kept
    except TimeoutError:
        hint = "try again, and see what it waits for"
        findings.append(fault(name, f"not finished within {_CHECK_SECONDS:g} s", hint))
    except Exception as error:  # noqa: BLE001 - see the docstring
        # Without the error's text, which may hold a secret.
        findings.append(fault(name, f"the check itself failed ({type(error).__name__})", "please report this"))
    return [replace(finding, check=prefix + finding.check) for finding in findings]
