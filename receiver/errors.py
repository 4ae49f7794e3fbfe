"""The errors of the receiver package."""

from __future__ import annotations


class ReceiverError(Exception):
    """Something about receiving events is not as it should be."""


class RefusedError(ReceiverError):
    """A request that does not get in.

    Attributes:
        status: the HTTP status to answer with.
        reason: what is wrong, in words for the sender and the log; nothing of the request itself.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class OverloadedError(ReceiverError):
    """More is under way than there is room for.

    Attributes:
        reason: of what there is too much.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def not_found() -> RefusedError:
    """The one and the same answer to a wrong token and to a path that does not exist."""
    return RefusedError(404, "not found")


class SpoolError(ReceiverError):
    """The local spool cannot keep an event, or cannot give one back.

    Attributes:
        reason: what the disk said; nothing of any event.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the spool cannot be used: {reason}")
        self.reason = reason


class SpoolFullError(SpoolError):
    """The spool has reached its bound."""
