"""What events are drained from: a spool that is whole, or what is left of a damaged one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.errors import MalformedRecordError
from broker.records import Job
from receiver.errors import SpoolDamagedError


@dataclass(frozen=True, slots=True)
class Portion:
    """The oldest events of a source.

    Attributes:
        jobs: the events.
        up_to: the number up to which the source is drained once they are elsewhere.
    """

    jobs: Sequence[Job]
    up_to: int


class Source(Protocol):
    """A spool as whoever drains it sees it. Used in one thread only."""

    @property
    def name(self) -> str:
        """The file's name. Names are in the order in which the spools were made."""

    @property
    def count(self) -> int:
        """How many events wait in it."""

    @property
    def used_bytes(self) -> int:
        """How much room they take."""

    def oldest(self, *, most_events: int, most_bytes: int) -> Portion:
        """The oldest events, at least one if there is any.

        Raises:
            SpoolDamagedError: the file is not as it was written.
            SpoolError: it cannot be read.
        """

    def remove(self, portion: Portion) -> None:
        """Take out events that are safe elsewhere.

        Raises:
            SpoolError: they are out as long as this process lives, but could not be taken out of the file.
        """

    def finish(self) -> None:
        """End with a source that is drained: its file is removed, or kept aside if it is damaged.

        Raises:
            SpoolError: the file is where it was.
        """

    def close(self) -> None:
        """Let go of a source; whatever is still in it is found again."""


def first_of(
    payloads: Iterable[tuple[int, bytes]], *, most_events: int, most_bytes: int
) -> Iterator[tuple[int, bytes]]:
    """The first of numbered payloads, as many as the limits allow, at least one."""
    taken_bytes = 0
    for taken, (number, payload) in enumerate(payloads):
        taken_bytes += len(payload)
        if taken and (taken_bytes > most_bytes or taken >= most_events):
            return
        yield number, payload


def job_in(payload: bytes, *, name: str) -> Job:
    """The event that a payload is.

    Raises:
        SpoolDamagedError: it is none.
    """
    try:
        return Job.from_bytes(payload)
    except MalformedRecordError as error:
        raise SpoolDamagedError(f"{name} holds an event that cannot be read ({error})") from None
