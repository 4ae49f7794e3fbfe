"""Records by id, in memory and in the state file if there is one. Used by `state` and `enrollments`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from konvox.sandbox.storage import Storage


class Identified(Protocol):
    """A record with an id."""

    @property
    def id(self) -> str:
        """Its id."""


RecordT = TypeVar("RecordT", bound=Identified)


class Table(Generic[RecordT]):
    """All records of one kind, the oldest first.

    Args:
        kind: the kind's name in the file.
        model: makes a record from its fields.
        storage: the file; None to keep the records in memory only.
    """

    def __init__(self, kind: str, model: Callable[..., RecordT], storage: Storage | None) -> None:
        self._kind = kind
        self._storage = storage
        self._records: dict[str, RecordT] = {}
        for fields in storage.load(kind) if storage else ():
            record = model(**_fields(fields))
            self._records[record.id] = record

    def __iter__(self) -> Iterator[RecordT]:
        return iter(self._records.values())

    def __reversed__(self) -> Iterator[RecordT]:
        return reversed(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def get(self, record_id: str | None) -> RecordT | None:
        """The record with this id, if there is one."""
        return None if record_id is None else self._records.get(record_id)

    def put(self, record: RecordT) -> None:
        """Add a record, or replace the one with the same id."""
        self._records[record.id] = record
        if self._storage:
            self._storage.save(self._kind, record.id, record)

    def remove(self, record_ids: Iterable[str]) -> None:
        """Delete records."""
        gone = [record_id for record_id in record_ids if self._records.pop(record_id, None) is not None]
        if self._storage:
            self._storage.delete(self._kind, gone)


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with lists as tuples: JSON has no tuples, and no record holds a list."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
