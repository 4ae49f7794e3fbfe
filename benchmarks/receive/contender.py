"""What the measure asks of whoever receives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from arq.connections import ArqRedis


@dataclass(frozen=True, slots=True)
class Receiver:
    """One way to receive Konvox's webhooks: a server process that answers each POST with 200.

    Attributes:
        name: for the table.
        command: what starts the process.
        environment: what it must be told: given the port to listen on and the store's URL.
        stored: how many events are in the store afterwards, or None if it stores none.
        note: what is particular about it, for the table.
        target_ratio: how many times as fast as this one we are to be, if there is a target.
        peer: what must be installed for it.
    """

    name: str
    command: tuple[str, ...]
    environment: Callable[[int, str], Mapping[str, str]]
    stored: Callable[[ArqRedis], Awaitable[int]] | None
    note: str = ""
    target_ratio: float | None = None
    peer: str | None = None


def environment(port: int, store_url: str) -> Mapping[str, str]:
    """Where to listen, and where to queue: for all but ourselves."""
    return {"PORT": str(port), "STORE_URL": store_url}
