"""The spool's folder: names, locks and fsync. Each process has a key, segments that bear it, and a lock.

The kernel frees a lock when its process ends, however it ends. So segments whose lock is free are left over, and the
process that takes the lock may drain them.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from broker.private_files import make_private_folder, open_private

DAMAGED_SUFFIX = ".damaged"  # of damaged segments, which are kept for a person

_NAME = re.compile(r"(?P<key>\d+-\d+-[0-9a-f]+)\.((?P<first>\d+)\.segment|lock)")


def segment_path(folder: Path, key: str, first: int) -> Path:
    """The segment of a key in which that number waits first."""
    return folder / f"{key}.{first:012d}.segment"


def segments_by_key(folder: Path) -> dict[str, list[tuple[Path, int, int | None]]]:
    """By key the segments in order: file, first number that waits, the next one's first. None where only a lock is."""
    found: dict[str, list[tuple[Path, int, int | None]]] = {}
    for name in sorted(os.listdir(folder), reverse=True):  # noqa: PTH208 - names are enough
        if match := _NAME.fullmatch(name):
            segments = found.setdefault(match["key"], [])
            if match["first"]:
                segments.insert(0, (folder / name, int(match["first"]), segments[0][1] if segments else None))
    return dict(sorted(found.items()))


def take_lock(folder: Path, key: str) -> int | None:
    """Lock a key. Returns the descriptor of the lock file; None while another process holds it."""
    path = folder / f"{key}.lock"
    descriptor = open_private(path, os.O_RDWR)
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A lock file that was removed in the meantime keeps nobody out.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    os.close(descriptor)
    return None


def used_bytes(folder: Path) -> int:
    """How much room the segments of all processes take."""
    total = 0
    for path in folder.glob("*.segment"):
        with suppress(FileNotFoundError):  # drained in the meantime
            total += path.stat().st_size
    return total


def make_folder(folder: Path) -> None:
    """Make the folder if need be, for its owner only, and bring its name to stable storage."""
    for path in make_private_folder(folder):
        sync_folder(path.parent)


def sync_file(descriptor: int) -> None:
    """Bring what was written to stable storage."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone does not reach the disk there
    else:
        os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to stable storage."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
