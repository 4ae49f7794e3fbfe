"""The checks of this machine: settings, authentication, handlers, names of files, data folder.

Run by `examination`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from broker.private_files import is_private
from handlers.errors import HandlerError
from konvox_hooks.config.accounts import ANY_COMPANY_RISK, COMPANIES_HINT
from konvox_hooks.config.env_file import ENV_FILE, open_to_others
from konvox_hooks.config.load import known_variables, unknown_variables
from konvox_hooks.config.settings import variable_of
from konvox_hooks.config.strength import RANDOM_TEXT_COMMAND
from konvox_hooks.doctor.findings import Findings, Subject, fault, not_checked, ok, warning
from konvox_hooks.registration.subscriptions import load_registry
from konvox_hooks.shadowing import hiding_files

_FULL_BYTES: Final = 100 * 1024**2
_NEARLY_FULL_BYTES: Final = 1024**3
_GIB: Final = 1024**3


async def check_settings(subject: Subject) -> Findings:
    """Check the settings: each must be valid, and each KONVOX_ variable must be a setting."""
    for name, line in subject.faults.items():
        yield fault("settings", line, f"set {variable_of(name)} right, in the environment or in .env")
    for variable in unknown_variables():
        nearest = get_close_matches(variable.upper(), sorted(known_variables()), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "remove it; `konvox-hooks config` shows all settings"
        yield warning("settings", f"{variable} is not a setting", hint)
    if not subject.faults:
        set_by_hand = sum(value.source != "default" for value in subject.settings.effective())
        yield ok("settings", f"{set_by_hand} set, the others have their defaults")


async def check_env_file(_: Subject) -> Findings:
    """Check that nobody else can read the secrets in `.env`."""
    try:
        mode = open_to_others(ENV_FILE)
    except OSError:
        return  # `read_settings` has said that it cannot be read
    if mode is not None:
        yield warning("secrets", f"{ENV_FILE} is open to others ({mode:04o})", f"chmod 600 {ENV_FILE}")


async def check_authentication(subject: Subject) -> Findings:
    """Check that Konvox, and nobody else, can deliver events: by a URL token, a signature, or both."""
    check, settings = "authentication", subject.settings
    if wrong := subject.faulty("hook_tokens", "signature", "signing_secrets"):
        yield not_checked(check, f"{wrong} is wrong", "see above")
        return
    signed = settings.signature != "off"
    if not settings.hook_tokens and not signed:
        yield fault(
            check,
            "neither a URL token nor a signature is configured, so the receiver does not start",
            f"`konvox-hooks register --write-env` makes a token, or set {variable_of('hook_tokens')} to what this "
            f"prints: {RANDOM_TEXT_COMMAND}",
        )
        return
    if subject.accounts > 1 and not settings.company_ids and not subject.faulty("company_ids"):
        yield warning(check, f"no company_ids: {ANY_COMPANY_RISK}", COMPANIES_HINT)
    if signed and settings.hook_tokens:
        # A signed request needs no token, and so a registration without a token keeps working.
        yield ok(check, f"{_tokens(subject)}, each request signed ({settings.signature})")
    elif signed:
        yield ok(check, f"no URL token, each request signed ({settings.signature})")
    else:
        yield ok(check, f"{_tokens(subject)}, no signature")


def _tokens(subject: Subject) -> str:
    count = len(subject.settings.hook_tokens)
    return f"{count} URL token{'' if count == 1 else 's'}"


async def check_handlers(subject: Subject) -> Findings:
    """Check that the handlers can be loaded, and keep them in the subject for later checks."""
    if wrong := subject.faulty("handlers"):
        yield not_checked("handlers", f"{wrong} is wrong", "see above")
        return
    try:
        registry = load_registry(subject.settings)
    except HandlerError as error:
        message = str(error).partition("\n")[0]
        yield fault("handlers", message, "`konvox-hooks handlers` shows where; the worker does not start until then")
        return
    subject.registry = registry
    if len(registry) == 0:
        yield warning(
            "handlers", "none is configured: events are only logged", f"name yours in {variable_of('handlers')}"
        )
        return
    names = [handler.name for handler in registry]
    yield ok("handlers", f"{len(names)} loaded: {', '.join(names)}")


async def check_names(_: Subject) -> Findings:
    """The files here that hide what handlers import, as soon as a test run puts this folder first on the path."""
    for path in hiding_files(Path.cwd()):
        yield warning("names", f"{path} hides what handlers import from konvox-hooks in a test run", "rename it")


async def check_data_folder(subject: Subject) -> Findings:
    """Check that the data of the embedded Valkey and the spool can be written, and that their disk has room."""
    if wrong := subject.faulty("data_dir"):
        yield not_checked("data folder", f"{wrong} is wrong", "see above")
        return
    folder = subject.settings.data_dir
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    hint = f"give it to the user that runs konvox-hooks, or name another in {variable_of('data_dir')}"
    try:
        _write_and_remove(existing)
    except OSError as error:
        yield fault("data folder", f"{existing} cannot be written: {error.strerror or type(error).__name__}", hint)
        return
    if existing == folder.absolute() and not is_private(existing):
        yield warning("data folder", f"{folder} is open to others", f"chmod 700 {shlex.quote(str(folder))}")
    free_bytes = shutil.disk_usage(existing).free
    can_be = "written" if existing == folder.absolute() else "made"
    room = f"{folder} can be {can_be}, {free_bytes / _GIB:.1f} GiB are free"
    more_room = "make room, or name a folder on another disk in KONVOX_DATA_DIR"
    if free_bytes < _FULL_BYTES:
        yield fault("data folder", room, more_room)
    elif free_bytes < _NEARLY_FULL_BYTES:
        yield warning("data folder", room, more_room)
    else:
        yield ok("data folder", room)


def _write_and_remove(folder: Path) -> None:
    """Prove by a write that reaches the disk that the folder can be written."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"konvox-hooks doctor")
        file.flush()
        os.fsync(file.fileno())
