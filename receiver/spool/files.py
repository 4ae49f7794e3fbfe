"""The files of one spool: the SQLite file, what SQLite keeps beside it, and the lock that says whose it is.

The lock is held as long as its process lives, however it ends; so a spool whose lock is free has been left over.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SUFFIX = ".spool"
DAMAGED_SUFFIX = ".damaged"
"""What is put behind the name of a damaged file that is kept aside."""

_LOCK_SUFFIX = ".lock"
_LOG_SUFFIX = "-wal"
_INDEX_SUFFIX = "-shm"
_JOURNAL_SUFFIX = "-journal"


@dataclass(frozen=True, slots=True)
class SpoolFiles:
    """The files of a spool that is ours: nobody else touches them until `release`.

    Attributes:
        path: the SQLite file. Names are in the order in which the spools were made.
        lock: the descriptor of the lock file.
    """

    path: Path
    lock: int

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Names for a new spool, which nobody else will use."""
        while True:
            name = f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}-{secrets.token_hex(4)}"
            files = cls.take(folder / f"{name}{SUFFIX}")
            if files is not None:  # somebody may have looked for left-over spools in just this moment
                return files

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """The files of a spool that exists; None if they are somebody's."""
        lock_path = path.with_suffix(_LOCK_SUFFIX)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lock file that was removed in the meantime keeps nobody out.
            mine = os.fstat(lock).st_ino == lock_path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if mine:
            return cls(path, lock)
        os.close(lock)
        return None

    @property
    def log(self) -> Path:
        """SQLite's write-ahead log."""
        return log_of(self.path)

    def remove(self) -> None:
        """Remove a spool that holds nothing more, and let go of it. Closed by SQLite before that."""
        try:
            for suffix in ("", _LOG_SUFFIX, _INDEX_SUFFIX, _JOURNAL_SUFFIX):
                _beside(self.path, suffix).unlink(missing_ok=True)
            self._unlock_for_good()
        finally:
            self.release()

    def set_aside(self) -> Path:
        """Keep the files under another name, for a person to look at, and let go of them. Returns the new name."""
        kept = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
        try:
            for path, new_path in ((self.log, log_of(kept)), (self.path, kept)):
                if path.exists():
                    path.rename(new_path)
            _beside(self.path, _INDEX_SUFFIX).unlink(missing_ok=True)  # an index that SQLite makes anew
            sync_folder(kept.parent)
            self._unlock_for_good()
        finally:
            self.release()
        return kept

    def release(self) -> None:
        """Let go of a spool that still holds something."""
        os.close(self.lock)

    def _unlock_for_good(self) -> None:
        # Removed while it is still locked: whoever has opened it finds that it is not the file of that name any more.
        self.path.with_suffix(_LOCK_SUFFIX).unlink(missing_ok=True)


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a spool."""
    return _beside(path, _LOG_SUFFIX)


def spool_paths(folder: Path) -> list[Path]:
    """The spools in a folder, the oldest first; those of which only the lock file is left included."""
    names = {path.with_suffix(SUFFIX) for path in folder.iterdir() if path.suffix in {SUFFIX, _LOCK_SUFFIX}}
    return sorted(names)


def bytes_of_others(folder: Path, own: Path | None) -> int:
    """How much room the spools take that are not ours, in bytes; what was kept aside is not counted."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            is_spool = entry.name.endswith((SUFFIX, SUFFIX + _LOG_SUFFIX))
            if is_spool and (own is None or not entry.name.startswith(own.name)):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue  # drained and removed in the meantime
    return total


def make_folder(folder: Path) -> None:
    """Make the folder, for its owner only: events are about people."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to stable storage."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
