"""Captured events: read them from JSON Lines and other JSON, write them to a file, admit them to the store.

Called by `events export`, `events import` and `replay`. A line is a captured request, or only its body.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from broker.admission import BATCH_EVENTS, admit
from broker.errors import MalformedRecordError
from broker.records import Job, Record
from broker.redis.client import outages_as_unavailable
from broker.redis.commands import Server
from broker.redis.durability import confirmation_for, refuse_eviction
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.history.compressed import MaybeCompressed
from konvox_hooks.history.json_objects import Found, objects
from konvox_hooks.history.open_store import admission_policy
from konvox_hooks.terminal.formatting import shown_line
from konvox_hooks.terminal.output import complain

STANDARD_STREAM = "-"
"""The file name that means standard input."""

BATCH_BYTES = 4 * 1024 * 1024
"""The most text of one batch: limits our memory, and how long one batch keeps Redis busy."""


class CapturedEvents:
    """The events of a file, read one by one. What cannot be read is reported on stderr, counted and skipped.

    The file may be compressed with gzip. It holds JSON Lines, or JSON that is indented over many lines, in an array or
    not.

    Attributes:
        faulty: how many lines could not be read so far; an object over several lines counts as one.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.faulty = 0
        self._stream = MaybeCompressed(stream)
        self._name = shown_line(name)

    def __iter__(self) -> Iterator[Record]:
        now_ms = time.time_ns() // 1_000_000
        faulty_line = 0
        for found in objects(self._stream):
            try:
                record = _record_of(found, now_ms)
            except MalformedRecordError as fault:
                if found.line != faulty_line:
                    faulty_line = found.line
                    self.faulty += 1
                    complain(f"{self._name}:{found.line}: {shown_line(str(fault))}; the line is skipped")
            else:
                yield record

    @property
    def fault(self) -> str:
        """The message at the end about what could not be read; empty if all was."""
        lines = f"{self.faulty} lines of {self._name} were skipped: fix them, see above" if self.faulty else ""
        data = f"{self._name}: {self._stream.fault}" if self._stream.fault else ""
        return "; ".join(filter(None, (lines, data)))


def _record_of(found: Found, now_ms: int) -> Record:
    if found.fault:
        raise MalformedRecordError(found.fault)
    return Record.from_line(found.text, now_ms=now_ms)


@contextmanager
def captured_events(source: str) -> Iterator[CapturedEvents]:
    """Open a file of captured events, or standard input for `-`.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if source == STANDARD_STREAM:
        yield CapturedEvents(sys.stdin.buffer, "standard input")
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115 - closed below; only opening it can be the user's mistake
    except OSError as error:
        raise UsageError(f"{shown_line(source)}: cannot be read: {error.strerror or error}") from None
    with stream:
        yield CapturedEvents(stream, source)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears complete or not at all; an existing file stays until then. Called by `events export`.

    Only its owner can read the file: events are about people.

    Raises:
        UsageError: no file can be written at this path.
        Failed: writing failed.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise UsageError(f"{path}: not a regular file; leave --output out to write to stdout")
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(unfinished).replace(target)
    except OSError as error:
        raise Failed(f"{path}: cannot be written: {error.strerror or error}; it is as it was before") from None
    finally:
        Path(unfinished).unlink(missing_ok=True)


@dataclass(slots=True)
class AdmissionCounts:
    """The progress of `admit_all`.

    Attributes:
        accepted: the number of accepted events.
        duplicates: the number of events that had been admitted before.
    """

    accepted: int = 0
    duplicates: int = 0

    def __str__(self) -> str:
        return f"accepted {self.accepted}, duplicates {self.duplicates}"


async def admit_all(server: Server, settings: Settings, jobs: Iterable[Job], counts: AdmissionCounts) -> None:
    """Admit jobs in batches, as durably as a receiver does. Called by `events import` and `replay --to queue`.

    Args:
        server: Redis.
        settings: the configuration.
        jobs: what to admit.
        counts: updated after each batch, and so right after an error too.

    Raises:
        BrokerUnavailableError: Redis went away; the last batch may have been accepted.
        UnsafeServerError: Redis would lose events.
    """
    with outages_as_unavailable():
        await refuse_eviction(server)
        policy = admission_policy(settings, await confirmation_for(server, settings.durability))
    for batch in _batches(jobs):
        accepted = sum(await admit(server, batch, policy))
        counts.accepted += accepted
        counts.duplicates += len(batch) - accepted


def _batches(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    batch: list[Job] = []
    characters = 0
    for job in jobs:
        batch.append(job)
        characters += len(job.record.body)
        if len(batch) == BATCH_EVENTS or characters >= BATCH_BYTES:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
