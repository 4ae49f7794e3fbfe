"""The errors of the receiver package."""

from __future__ import annotations

from pathlib import Path

from receiver.responses import Response


class ReceiverError(Exception):
    """Something about receiving events is not as it should be."""


class RefusedError(ReceiverError):
    """A request that is wrong in some way, and not taken.

    Attributes:
        response: the answer. It says what is wrong, and nothing of the request itself.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status}: {response.content['error']}")
        self.response = response


class OverloadedError(ReceiverError):
    """There is no room for a request or its event at the moment; the sender may try again.

    Attributes:
        reason: of what there is too much.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SpoolError(ReceiverError):
    """The local spool cannot keep an event, or cannot give one back.

    Attributes:
        reason: what the disk said; nothing of any event.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the spool cannot be used: {reason}")
        self.reason = reason


class SpoolFolderError(SpoolError):
    """Nothing can be kept in the spool's folder, as a start finds out.

    Attributes:
        folder: its path.
    """

    exit_code = 2

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}; give it to the user that runs konvox-hooks, or name another folder")
        self.reason = reason
        self.folder = folder


class SpoolFullError(SpoolError):
    """The spool has reached its bound."""
