"""Captured events: read from JSON Lines and written to it, and admitted from there.

Used by `events export`, `events import` and `replay`. A line is a captured request, or just a Konvox body.
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
from konvox_hooks.history.open_store import admission_policy
from konvox_hooks.terminal.formatting import shown_line
from konvox_hooks.terminal.output import complain

STANDARD_STREAM = "-"
"""What stands for standard input in the place of a file."""

BATCH_BYTES = 4 * 1024 * 1024
"""The most text of one batch, whatever the number of events: bounds memory, and how long Redis takes over it."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class CapturedEvents:
    """The events of a file, read as they are asked for. A faulty line is told to stderr, counted and left out.

    Attributes:
        faulty: how many lines could not be read so far.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.faulty = 0
        self._stream = stream
        self._name = shown_line(name)

    def __iter__(self) -> Iterator[Record]:
        now_ms = time.time_ns() // 1_000_000
        for number, line in enumerate(self._stream, start=1):
            text = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
            if not text:
                continue
            try:
                yield Record.from_line(text, now_ms=now_ms)
            except MalformedRecordError as fault:
                self.faulty += 1
                complain(f"{self._name}:{number}: {shown_line(str(fault))}; the line is left out")

    @property
    def fault(self) -> str:
        """What to say at the end about faulty lines; empty where there was none."""
        return f"{self.faulty} of the lines of {self._name} left out: fix them, see above" if self.faulty else ""


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
        stream = Path(source).open("rb")  # noqa: SIM115 - closed below: only opening it may be the user's mistake
    except OSError as error:
        raise UsageError(f"{shown_line(source)}: cannot be read: {error.strerror or error}") from None
    with stream:
        yield CapturedEvents(stream, source)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears complete or not at all; what was there before stays until then.

    Only its owner may read it: events are about people.

    Raises:
        UsageError: there can be no such file.
        Failed: it could not be written to the end.
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
class Admitted:
    """How far an admission has come.

    Attributes:
        accepted: how many events were accepted.
        duplicates: how many were recognised as already admitted.
    """

    accepted: int = 0
    duplicates: int = 0


async def admit_all(server: Server, settings: Settings, jobs: Iterable[Job], admitted: Admitted) -> None:
    """Admit jobs in batches, each as durable as a receiver's, and keep `admitted` up to date.

    Raises:
        BrokerUnavailableError: Redis went away; the batch under way may have been taken.
        UnsafeServerError: the server would lose events.
    """
    with outages_as_unavailable():
        await refuse_eviction(server)
        policy = admission_policy(settings, await confirmation_for(server, settings.durability))
    for batch in _batches(jobs):
        accepted = sum(await admit(server, batch, policy))
        admitted.accepted += accepted
        admitted.duplicates += len(batch) - accepted


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
