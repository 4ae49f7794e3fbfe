"""Set variables in `.env` and leave the rest of it as it is. Used by `konvox-hooks register --write-env`.

The new text is read back before it is written: no other value may change. The file is replaced as a whole, and is
never half written. Only its owner can read it afterwards, although it may have been open to others before.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv.parser import Binding, parse_stream

from konvox_hooks.config.env_syntax import quoted, read_variables
from konvox_hooks.config.settings import SECRET_VARIABLES
from konvox_hooks.errors import Failed

ENV_FILE: Final = Path(".env")

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.,:/+=@~-]*")
"""Values without quotes, which dotenv, systemd, Docker and a shell read alike."""

_OWNER_ONLY: Final = 0o600


class EnvFileError(Failed):
    """The file was not written, and is as it was before. No message holds a value."""


def open_to_others(path: Path) -> int | None:
    """The mode of a file that others than its owner can read or write; None if it does not exist or only its owner can.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    return mode if mode & 0o077 else None


def write_variables(path: Path, variables: Mapping[str, str]) -> int | None:
    """Set variables in a file, which need not exist. Only its owner can read it afterwards.

    Returns:
        The mode that the file had, if others could read it before; they may know what was in it.

    Raises:
        EnvFileError: it cannot be read or written, or cannot hold a value.
    """
    target = path.resolve()  # a symbolic link stays one
    try:
        mode_before = open_to_others(target)
        before = target.read_bytes().decode() if target.exists() else ""
        after = with_variables(before, variables)
        _replace(target, after.encode())
    except OSError as error:
        raise EnvFileError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from None
    except UnicodeError:
        raise EnvFileError(f"{path} cannot be written: what is in it, or was to be, is not UTF-8") from None
    return mode_before


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """The text of an env file with the variables set: in their old place, or at the end if they are new. Pure.

    Raises:
        EnvFileError: another value would be read back.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    remaining = dict(variables)
    lines = list(_lines(text, variables, remaining))
    if remaining and lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += line_end
    lines += [_line(name, value) + line_end for name, value in remaining.items()]
    after = "".join(lines)
    if _read(after) != {**_read(text), **variables}:
        raise EnvFileError(
            f"{', '.join(variables)} cannot be written to the env file: a value has characters that it cannot hold, or "
            "a line of the file is not NAME=value"
        )
    return after


def _lines(text: str, variables: Mapping[str, str], remaining: dict[str, str]) -> Iterator[str]:
    """The statements of the file with the new values.

    Takes each variable that it sets out of `remaining`, and drops further statements of the same variable.
    """
    for binding in parse_stream(StringIO(text, newline="")):
        name = binding.key
        if name is None or name not in variables:
            yield binding.original.string
        elif name in remaining:
            yield _replaced(binding, _line(name, remaining.pop(name)))


def _replaced(binding: Binding, line: str) -> str:
    """The new line in the place of the old, which keeps the blank lines before it, `export` and its line end."""
    old = binding.original.string
    leading = old[: len(old) - len(old.lstrip())]
    export = "export " if re.match(r"export\s", old.lstrip()) else ""
    end = re.search(r"[\r\n]*\Z", old)
    return leading + export + line + (end[0] if end else "")


def _line(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    return f"{name}={quoted(value)}"


def _read(text: str) -> dict[str, str | None]:
    return read_variables(text, SECRET_VARIABLES)


def _replace(target: Path, content: bytes) -> None:
    """Replace the file in one step that survives a crash; the new file keeps the owner of the old."""
    old = target.stat() if target.exists() else None
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _OWNER_ONLY)
            if old and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):  # only root may change the owner
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
