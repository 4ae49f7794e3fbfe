"""How many bodies may be in progress: bodies that are held in memory while they come, in all and per peer.

Asked by `receiver.app` before it reads a body. Without the bound per peer, one stranger with slow bodies would take
the room of everybody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from receiver.errors import OverloadedError

SMALL: Final = 1
"""The room of a body that is about as small as a plain delivery's."""

LARGE: Final = 16
"""The room of a body that may be as large as an account allows."""


class BodiesInProgress:
    """Knows which peer has how many bodies in progress."""

    def __init__(self) -> None:
        self._by_peer: dict[str, int] = {}
        self._taken = 0

    @contextmanager
    def one_more(self, peer: str, room: int, *, most: int, most_per_peer: int) -> Iterator[None]:
        """Hold room for a body as long as the block.

        Args:
            peer: whose body it is.
            room: how much of it the body takes, `SMALL` or `LARGE`.
            most: how many large bodies there is room for.
            most_per_peer: how many of them one peer may have.

        Raises:
            OverloadedError: there is no room.
        """
        own = self._by_peer.get(peer, 0)
        if self._taken + room > most * LARGE:
            raise OverloadedError("too many large bodies at a time")
        if own + room > most_per_peer * LARGE:
            raise OverloadedError("too many large bodies of one peer at a time")
        self._taken += room
        self._by_peer[peer] = own + room
        try:
            yield
        finally:
            self._taken -= room
            left = self._by_peer[peer] - room
            if left:
                self._by_peer[peer] = left
            else:
                del self._by_peer[peer]
