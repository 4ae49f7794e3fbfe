"""Reading a spool through SQLite, and finding out whether it is as it was written. Nothing is written here."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from receiver.errors import SpoolDamagedError, SpoolError
from receiver.spool.files import log_of
from receiver.spool.frames import PART_COLUMNS, Frame, read_frame, whole_events
from receiver.spool.wal import hides_commits

MARK_NUMBER = 0
"""Where in the table the mark stands; events begin at 1."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_READ_FAULTS = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
_SURROUNDINGS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}
"""What SQLite says when the file itself may be whole."""


class Reader:
    """Reads the frames of a spool.

    Attributes:
        name: the file's name, for messages.
        drained_to: the number up to which it is drained.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.name = name
        self.drained_to = 0
        self._connection = connection

    def check(self) -> int:
        """Check the whole file, and read how far it is drained. Returns how many events wait in it.

        Raises:
            SpoolDamagedError: it is not as it was written.
        """
        with faults_as_errors(opening=True):
            (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            tables = [name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")]
            if verdict != "ok" or tables not in ([], ["frames"]):
                raise SpoolDamagedError(f"{self.name} is not whole")
            if not tables:
                return 0  # its process was killed before it could write anything
            mark = self._connection.execute("SELECT frame FROM frames WHERE number = ?", (MARK_NUMBER,)).fetchone()
            if mark is not None:
                self.drained_to = self._intact(mark[0]).number
            first_part = f"substr(frame, {PART_COLUMNS[0]}, {PART_COLUMNS[1]}) = x'0000'"
            (count,) = self._connection.execute(
                f"SELECT count(*) FROM frames WHERE number > ? AND {first_part}",  # noqa: S608 - constants of ours
                (self.drained_to,),
            ).fetchone()
            return int(count)

    @contextmanager
    def payloads(self) -> Iterator[Iterator[tuple[int, bytes]]]:
        """The events that wait, oldest first: the last number and the payload of each.

        Raises:
            SpoolDamagedError: one of them is not as it was written, or is missing.
        """
        # Closed at once, wherever the caller stops: an open statement keeps SQLite from writing the log back.
        with faults_as_errors(), closing(self._frames()) as frames:
            yield whole_events(frames)

    def _frames(self) -> Generator[Frame, None, None]:
        rows = self._connection.execute(
            "SELECT number, frame FROM frames WHERE number > ? ORDER BY number", (self.drained_to,)
        )
        with closing(rows):
            for expected, (number, image) in enumerate(rows, start=self.drained_to + 1):
                frame = self._intact(image)
                if not number == frame.number == expected:
                    raise SpoolDamagedError(f"{self.name} lacks frame {expected}")
                yield frame

    def _intact(self, image: bytes) -> Frame:
        frame = read_frame(image)
        if frame is None or not frame.intact:
            raise SpoolDamagedError(f"{self.name} holds a frame with a wrong checksum")
        return frame


def check_log(path: Path) -> None:
    """Check the write-ahead log of a spool. To be done before SQLite opens it: it throws away what it cannot read.

    Raises:
        SpoolDamagedError: there are commits in it that SQLite would not see.
    """
    with faults_as_errors():
        try:
            log = log_of(path).read_bytes()
        except FileNotFoundError:
            return
        main_is_empty = not path.exists() or path.stat().st_size == 0
        if log and (main_is_empty or hides_commits(log)):
            raise SpoolDamagedError(f"the write-ahead log of {path.name} is damaged")


@contextmanager
def faults_as_errors(*, opening: bool = False) -> Iterator[None]:
    """Turn what SQLite and the disk raise into our own errors.

    Args:
        opening: whether a spool that exists is opened: then whatever SQLite does not understand of it is damage.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)  # Python's own errors have none
        damage = code & 0xFF in _DAMAGE or code in _READ_FAULTS or (opening and code & 0xFF not in _SURROUNDINGS)
        raise (SpoolDamagedError if damage else SpoolError)(str(error)) from error
    except OSError as error:
        raise SpoolError(error.strerror or str(error)) from error
