"""The errors of the broker package. The receiver, the worker and the console catch these."""

from __future__ import annotations


class BrokerError(Exception):
    """The store of the events is not as it should be.

    Attributes:
        exit_code: how a command that meets it ends.
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


class UnsafeServerError(BrokerError):
    """The server's own settings would lose events, so that a 200 could not be believed.

    Attributes:
        fault: what is wrong.
        mend: how to mend it.
    """

    exit_code = 2

    def __init__(self, fault: str, mend: str) -> None:
        super().__init__(f"{fault}. {mend}")
        self.fault = fault
        self.mend = mend


class EmbeddedServerError(BrokerError):
    """The embedded Valkey could not be started."""


class MalformedRecordError(BrokerError):
    """A captured event, from a file or from Redis, cannot be read."""
