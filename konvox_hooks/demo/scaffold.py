"""The files that `konvox-hooks init` makes: a first handler, its test, `.env` with a fresh token, lines for git.

Nothing that exists is changed, but for lines that are added to `.gitignore`.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from konvox_hooks.errors import UsageError

HANDLERS_FILE: Final = "my_handlers.py"
TEST_FILE: Final = "test_my_handlers.py"
ENV_FILE: Final = ".env"
IGNORE_FILE: Final = ".gitignore"

_TOKEN_BYTES: Final = 32
_OWNER_ONLY: Final = 0o600
_ANYONE: Final = 0o666
"""What the umask leaves of it."""

_IGNORED: Final = (".env", ".konvox-hooks/")
"""The token, and the data of the embedded server with the events in it."""

_HANDLERS: Final = '''\
"""What happens when a contact replies or opts out. `konvox-hooks handlers` shows what is registered."""

from konvox_hooks import Context, on
from konvox_hooks.events import ContactReplied, EnrollmentUnsubscribed


@on("contact.replied")
async def tell_sales(event: ContactReplied, ctx: Context) -> None:
    """Put your own call here: `ctx.http` is an aiohttp session, `ctx.konvox` the client of the Konvox API."""
    ctx.log.info("a contact replied", contact=event.data.contact_id, subject=event.data.subject)


@on("enrollment.unsubscribed", attempts=12)
def opt_out(event: EnrollmentUnsubscribed, ctx: Context) -> None:
    """A plain function runs in a thread. If it raises, it is run again, up to `attempts` times."""
    ctx.log.info("opted out", contact=event.data.contact_id, reason=event.data.reason)
'''

_TEST: Final = '''\
"""The handlers, called as the worker calls them: run it with pytest."""

import asyncio

from konvox_hooks.testing import make_context, make_event

from my_handlers import opt_out, tell_sales


def test_a_reply_is_told() -> None:
    ctx = make_context()
    asyncio.run(tell_sales(make_event("contact.replied", {"subject": "Yes, please"}), ctx))
    assert ctx.logged[0]["subject"] == "Yes, please"


def test_an_opt_out_is_told() -> None:
    ctx = make_context()
    opt_out(make_event("enrollment.unsubscribed", {"reason": "manual"}), ctx)
    assert ctx.logged[0]["reason"] == "manual"
'''

_ENV: Final = """\
KONVOX_HANDLERS=./{handlers}

# The path at which Konvox delivers ends in this token: anybody who knows it can send you events.
KONVOX_HOOK_TOKENS={token}

# For `konvox-hooks register`, `konvox-hooks api` and ctx.konvox:
# KONVOX_API_URL=https://app.example.com
# KONVOX_API_KEY=
# KONVOX_PUBLIC_URL=https://hooks.example.com
"""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What came of it.

    Attributes:
        made: the files that are new, or have new lines.
        left: the files that existed, and are as they were.
    """

    made: tuple[str, ...]
    left: tuple[str, ...]


def make_scaffold(folder: Path) -> Scaffold:
    """Make the files in a folder, which need not exist.

    Raises:
        UsageError: it is no folder, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Before the token is there, so that git never sees it.
        ignored = _ignore(folder / IGNORE_FILE)
        made = {ENV_FILE: _create(folder / ENV_FILE, _env(), _OWNER_ONLY)}
        made[HANDLERS_FILE] = _create(folder / HANDLERS_FILE, _HANDLERS, _ANYONE)
        # A test of these handlers would fail with any others.
        made[TEST_FILE] = made[HANDLERS_FILE] and _create(folder / TEST_FILE, _TEST, _ANYONE)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror or error}; name another folder") from None
    left = tuple(name for name, new in made.items() if not new and (folder / name).exists())
    return Scaffold((*(name for name, new in made.items() if new), *([IGNORE_FILE] if ignored else [])), left)


def _env() -> str:
    return _ENV.format(handlers=HANDLERS_FILE, token=secrets.token_urlsafe(_TOKEN_BYTES))


def _create(path: Path, content: str, mode: int) -> bool:
    """Write a new file; False where there is one of that name already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if mode == _OWNER_ONLY:
            os.fchmod(descriptor, mode)  # whatever the umask
        file.write(content)
    return True


def _ignore(path: Path) -> bool:
    """Add what git must not see; False where all of it is there already."""
    before = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    present = {line.strip().strip("/") for line in before.splitlines()}
    missing = [line for line in _IGNORED if line.strip("/") not in present]
    if missing:
        gap = "\n" if before and not before.endswith("\n") else ""
        with path.open("a", encoding="utf-8") as file:
            file.write(gap + "".join(f"{line}\n" for line in missing))
    return bool(missing)
