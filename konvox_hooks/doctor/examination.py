"""All checks, one after the other or at once, so that none can keep another from running."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from itertools import chain
from typing import Final

from konvox_hooks.config.accounts import ACCOUNT_FIELDS, load_accounts
from konvox_hooks.config.load import examine_settings
from konvox_hooks.doctor.findings import Check, Finding, Subject, fault
from konvox_hooks.doctor.local import check_data_folder, check_handlers, check_names, check_settings, check_way_in
from konvox_hooks.doctor.remote import check_api, check_public_url
from konvox_hooks.doctor.store import check_store
from konvox_hooks.errors import UsageError

_HERE: Final[tuple[tuple[str, Check], ...]] = (
    ("settings", check_settings),
    ("handlers", check_handlers),
    ("names", check_names),
    ("data folder", check_data_folder),
)
"""One after the other: the handlers are the users' code, and what they load is needed further down."""

_OF_EACH_ACCOUNT: Final[tuple[tuple[str, Check], ...]] = (
    ("way in", check_way_in),
    ("konvox api", check_api),
    ("public url", check_public_url),
)

_CHECK_SECONDS: Final = 30.0


def admit() -> tuple[Subject, list[Finding]]:
    """The settings to examine; without `.env` if that cannot be read."""
    try:
        settings, faults = examine_settings()
    except UsageError as error:
        settings, faults = examine_settings(env_file=os.devnull)
        return Subject(settings, faults), [fault("settings", str(error), "fix or remove the file")]
    return Subject(settings, faults), []


async def examine(subject: Subject) -> list[Finding]:
    """Everything that is found, in the order of the checks."""
    findings = [finding for name, check in _HERE for finding in await _run(name, check, subject)]
    accounts, faults = _accounts(subject)
    # At once: what hangs costs its own time-out, and not the sum of them.
    found = await asyncio.gather(
        _run("redis", check_store, subject),
        *(_run(name, check, account) for account in accounts for name, check in _OF_EACH_ACCOUNT),
    )
    return [*findings, *faults, *chain.from_iterable(found)]


def _accounts(subject: Subject) -> tuple[list[Subject], list[Finding]]:
    """A subject for each account; the one that the variables describe where there is no file of accounts."""
    if subject.faulty("accounts_file"):
        return [], []
    try:
        accounts = load_accounts(subject.settings)
    except UsageError as error:
        return [], [fault("accounts", line, "fix the file") for line in str(error).splitlines()]
    shared = {name: line for name, line in subject.faults.items() if name not in ACCOUNT_FIELDS}
    return [
        replace(subject, settings=settings, faults=shared if name else subject.faults, account=name)
        for name, settings in accounts.items()
    ], []


async def _run(name: str, check: Check, subject: Subject) -> list[Finding]:
    """What one check finds. What it did not foresee is a finding too: the other checks go on."""
    findings: list[Finding] = []
    prefix = f"[{subject.account}] " if subject.account else ""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            async for finding in check(subject):
                findings.append(finding)  # noqa: PERF401 - what was found before a failure must stay
    except TimeoutError:
        findings.append(fault(name, f"no end within {_CHECK_SECONDS:g} s", "try again, and see what it waits for"))
    except Exception as error:  # noqa: BLE001 - a doctor must not fall ill: see above
        # Its text is left out, because nobody knows what it holds.
        findings.append(fault(name, f"the check itself failed ({type(error).__name__})", "please report this"))
    return [replace(finding, check=prefix + finding.check) for finding in findings]
