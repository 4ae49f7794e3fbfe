"""The errors of the broker package. The receiver, the worker and the commands catch them."""

from __future__ import annotations

from pathlib import Path


class BrokerError(Exception):
    """Something is wrong with the store of the events.

    Attributes:
        exit_code: the exit code of a command that fails with it.
    """

    exit_code = 1


class BrokerUnavailableError(BrokerError):
    """Redis did not take the command in time: away, hung, read-only, full or failing over.

    Attributes:
        reason: what Redis or the connection said.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"Redis is not available: {reason}")
        self.reason = reason


_HINTS = {
    "MISCONF": "it cannot write to its disk: make room there, and look at its log",
    "NOREPLICAS": "too few replicas follow it for its `min-replicas-to-write`: start them, or lower that",
    "MASTERDOWN": "it is a replica that has lost its master: start that, or name another server in KONVOX_REDIS_URL",
    "READONLY": "it is a replica: name its master in KONVOX_REDIS_URL, or wait for the end of the failover",
    "OutOfMemoryError": "its memory is full: let the workers drain it, or raise its `maxmemory`",
}
"""What a refusal means and what to do, by a code in its text. Where a script was refused, the text begins otherwise."""


def hint_of(error: BaseException) -> str | None:
    """What a refusal means, and what to do about it; None where we know no more than the error says. Pure."""
    text = f"{type(error).__name__}: {error}"
    return next((hint for code, hint in _HINTS.items() if code in text), None)


def refusal_in_words(error: BaseException) -> str:
    """What Redis or the connection said, and what to do about it if we know. Pure."""
    hint = hint_of(error)
    return f"{type(error).__name__}: {error}" + (f" ({hint})" if hint else "")


class UnsafeServerError(BrokerError):
    """With its settings, the server would lose events that we have answered with 200.

    Attributes:
        fault: what is wrong.
        hint: how to fix it.
    """

    exit_code = 2

    def __init__(self, fault: str, hint: str) -> None:
        super().__init__(f"{fault}. {hint}")
        self.fault = fault
        self.hint = hint


class EmbeddedServerError(BrokerError):
    """The embedded Valkey could not be started."""


class DataFolderError(BrokerError):
    """The data folder cannot be used.

    Attributes:
        folder: its path.
        reason: what the system said.
    """

    exit_code = 2

    def __init__(self, folder: Path, error: OSError) -> None:
        self.folder = folder
        self.reason = error.strerror or type(error).__name__
        super().__init__(
            f"the data folder {folder} cannot be used ({self.reason}): give it to the user that runs konvox-hooks, or "
            "name another one in KONVOX_DATA_DIR"
        )


class MalformedRecordError(BrokerError):
    """A captured event, from a file or from Redis, cannot be read."""
