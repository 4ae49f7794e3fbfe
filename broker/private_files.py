"""Folders and files that only their owner can read: events are about people. Used by the embedded Valkey and the spool.

The umask decides nothing here. What an earlier version left open to others is closed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import DataFolderError

OWNER_ONLY_UMASK: Final = 0o077
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def make_private_folder(folder: Path) -> list[Path]:
    """Make a folder and its parents if need be, and close it to others.

    A folder that was there and belongs to somebody else, or that others are meant to use, stays as it is.

    Returns:
        The folders that are new, the innermost last.

    Raises:
        OSError: it cannot be made or entered, or is no folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    for path in made:
        with suppress(FileExistsError):  # another process was faster
            path.mkdir(_FOLDER_MODE)
            path.chmod(_FOLDER_MODE)  # `mkdir` heeds the umask, which may take away even our own rights
    if not made:
        _close_folder(folder)
    os.scandir(folder).close()
    return made


def make_data_folder(folder: Path) -> None:
    """Make the data folder if need be, and prove that files can be made in it.

    Raises:
        DataFolderError: they cannot.
    """
    try:
        make_private_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataFolderError(folder, error) from None


def is_private(folder: Path) -> bool:
    """Whether only its owner can enter a folder."""
    return stat.S_IMODE(folder.stat().st_mode) & OWNER_ONLY_UMASK == 0


def open_private(path: Path, flags: int) -> int:
    """Open or make a file that only its owner can read. Returns the descriptor."""
    descriptor = os.open(path, flags | os.O_CREAT, _FILE_MODE)
    os.fchmod(descriptor, _FILE_MODE)
    return descriptor


def close_tree(folder: Path) -> None:
    """Close a folder and all in it to others, as far as it belongs to us. It need not exist."""
    for parent, _, files in os.walk(folder):
        _close(Path(parent), _FOLDER_MODE)
        for name in files:
            _close(Path(parent, name), _FILE_MODE)


def _close(path: Path, mode: int) -> None:
    with suppress(OSError):  # somebody else's, or removed meanwhile
        if stat.S_IMODE(path.lstat().st_mode) & OWNER_ONLY_UMASK and not path.is_symlink():
            path.chmod(mode)


def _close_folder(folder: Path) -> None:
    found = folder.stat()
    here = Path.cwd()
    shared = found.st_mode & stat.S_ISVTX or folder.resolve() in (here, *here.parents)
    if stat.S_IMODE(found.st_mode) & OWNER_ONLY_UMASK and stat.S_ISDIR(found.st_mode) and not shared:
        with suppress(PermissionError):  # somebody else's, as a volume of Kubernetes may be
            folder.chmod(_FOLDER_MODE)
