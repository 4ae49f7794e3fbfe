"""A sandbox's records in an SQLite file, which keeps every answered change after a kill -9. Called by `state`.

A change goes into the open transaction at once; `commit` ends it before the answer is sent. Everything runs in the
event loop's thread, because writing one row takes less time than changing threads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from konvox.errors import KonvoxError

_APPLICATION_ID = 0x4B56_5842
_VERSION = 1


class StateFileError(KonvoxError):
    """The state file cannot be used.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot keep the sandbox's state in {path}: {reason}")
        self.path = path
        self.reason = reason


class Storage:
    """An open state file. Only one sandbox can have it open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Only the owner may read it: it holds the webhooks' URLs, and the tokens in them.
        with suppress(FileExistsError):
            self._create()
        try:
            self._connection = sqlite3.connect(path, timeout=0, isolation_level="DEFERRED")
        except sqlite3.Error as error:
            raise StateFileError(path, str(error)) from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise StateFileError(path, _reason(error)) from None
        except StateFileError:
            self._connection.close()
            raise

    def load(self, kind: str) -> Iterator[dict[str, Any]]:
        """The fields of every record of a kind, in the order in which they were first saved.

        Raises:
            StateFileError: the file is damaged.
        """
        try:
            rows = self._connection.execute("SELECT fields FROM records WHERE kind = ? ORDER BY position", (kind,))
            for (fields,) in rows:
                yield dict(orjson.loads(fields))
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise StateFileError(self._path, f"it is damaged ({error})") from None

    def save(self, kind: str, record_id: str, record: Any) -> None:
        """Write a record, which is a dataclass. It replaces the one with the same id."""
        self._connection.execute(
            "INSERT INTO records (kind, id, fields) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET fields = excluded.fields",
            (kind, record_id, orjson.dumps(record)),
        )

    def delete(self, kind: str, record_ids: Iterable[str]) -> None:
        """Delete records."""
        self._connection.executemany(
            "DELETE FROM records WHERE kind = ? AND id = ?", [(kind, record_id) for record_id in record_ids]
        )

    def commit(self) -> None:
        """End the transaction, which makes the changes durable."""
        self._connection.commit()

    def close(self) -> None:
        """Commit, and close the file."""
        try:
            self._connection.commit()
        finally:
            self._connection.close()

    def _create(self) -> None:
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            raise
        except OSError as error:
            raise StateFileError(self._path, error.strerror or str(error)) from None

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        (tables,) = execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and _pragma(self._connection, "application_id") != _APPLICATION_ID:
            raise StateFileError(self._path, "it is another program's database; choose another file")
        if tables and (version := _pragma(self._connection, "user_version")) != _VERSION:
            raise StateFileError(self._path, f"it has version {version}, and this sandbox reads {_VERSION}")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        execute(f"PRAGMA user_version = {_VERSION}")
        execute(
            "CREATE TABLE IF NOT EXISTS records (position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
            " id TEXT NOT NULL, fields BLOB NOT NULL, UNIQUE (kind, id))"
        )
        # In exclusive mode the first write takes the lock and keeps it: this refuses a second sandbox.
        execute("BEGIN IMMEDIATE")
        self._connection.commit()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _reason(error: sqlite3.Error) -> str:
    if error.sqlite_errorcode in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "another sandbox has it open; stop that one, or choose another file"
    if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return "it is another program's file; choose another one"
    return str(error)
