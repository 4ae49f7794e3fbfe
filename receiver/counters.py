"""How many requests ended how, since the start. Counted by both ways through the listener, read as metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """The counts of one receiver.

    Attributes:
        accepted: events that were new, and are durable.
        duplicates: events that had been accepted before.
        refused: requests that were wrong in some way: a status of 400 to 499, or a connection that broke off.
        unavailable: events that neither Redis nor the spool took (503).
        shed: requests and connections that there was no room for (503).
        evicted: connections that were ended, because they were idle for longest when there was no room for a new one.
    """

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    unavailable: int = 0
    shed: int = 0
    evicted: int = 0

    def count_stored(self, *, accepted: bool) -> None:
        """Count an event that is durable."""
        if accepted:
            self.accepted += 1
        else:
            self.duplicates += 1
