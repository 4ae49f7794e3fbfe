"""The errors of the konvox package. Everyone who calls into it catches these."""

from __future__ import annotations


class KonvoxError(Exception):
    """Something about Konvox, its events or its API is not as it should be."""


class MalformedEventError(KonvoxError):
    """The body is not a Konvox event.

    Attributes:
        reason: what is wrong with it, in words that hold none of the body.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a Konvox event: {reason}")
        self.reason = reason


class EventDoesNotFitError(KonvoxError):
    """An event's body does not fit the model of its type; it is kept, and typed handlers cannot have it.

    Attributes:
        event_type: the event's name on the wire.
        faults: one line per fault, naming the field; none of the values.
    """

    def __init__(self, event_type: str, faults: list[str]) -> None:
        super().__init__(f"{event_type} does not fit its model: {'; '.join(faults)}")
        self.event_type = event_type
        self.faults = faults


class SignatureError(KonvoxError):
    """The request's signature is missing, malformed or wrong.

    Attributes:
        reason: what is wrong with it, in words that hold none of the signature.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"signature refused: {reason}")
        self.reason = reason


class InvalidUrlError(KonvoxError, ValueError):
    """A URL that is not one to send to.

    Attributes:
        fault: what it must be, to be read after its name ("must begin with https://"). The URL is not kept, since it
            may hold a secret.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class KonvoxApiError(KonvoxError):
    """A call of the Konvox API did not work.

    Attributes:
        message: what Konvox said, or what is wrong; never the API key, never a webhook's URL.
        status: the status of the answer, or None where there was none.
        method: the method of the call; empty where none was made.
        path: the path of the call, without its query; empty where none was made.
    """

    def __init__(self, message: str, *, status: int | None = None, method: str = "", path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.method = method
        self.path = path

    def __str__(self) -> str:
        call = f"{self.method} {self.path}".strip()
        answer = "" if self.status is None else f"status {self.status}"
        return ": ".join(part for part in (call, answer, self.message) if part)


class InvalidArgumentError(KonvoxApiError, ValueError):
    """An argument that Konvox would refuse; nothing was sent.

    Attributes:
        argument: the name of the argument; its value is not kept, since it may be a secret.
    """

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class BadRequestError(KonvoxApiError):
    """400: Konvox refused the request's values; its message says why."""


class UnauthorizedError(KonvoxApiError):
    """401: the API key is missing or invalid."""


class ForbiddenError(KonvoxApiError):
    """403: the API key is valid, but its scope is too small (a read key that writes) or the plan's limit is reached."""


class NotFoundError(KonvoxApiError):
    """404: there is no such record, or it is another company's."""


class ConflictError(KonvoxApiError):
    """409: such a record exists already."""


class RateLimitedError(KonvoxApiError):
    """429: too many requests; the request was not carried out.

    Attributes:
        retry_after_seconds: when Konvox wants to be asked again, or None where it does not say.
    """

    retry_after_seconds: float | None = None


class InternalServerError(KonvoxApiError):
    """500: Konvox failed, and goes on failing after the retries."""


class UnexpectedStatusError(KonvoxApiError):
    """A status that Konvox does not document: often a proxy's, or a redirect, which the API key must not follow.

    Attributes:
        retry_after_seconds: when the server wants to be asked again, or None where it does not say.
    """

    retry_after_seconds: float | None = None


class NotAnEnvelopeError(KonvoxApiError):
    """A success whose body is no Konvox envelope: most likely the API's URL leads to something else."""


class AnswerDoesNotFitError(KonvoxApiError):
    """A success whose envelope does not hold what the call should return. The call may have taken effect."""


class ApiConnectionError(KonvoxApiError):
    """Konvox could not be reached, or the connection broke.

    Attributes:
        maybe_sent: whether the request may have reached Konvox, and so may have taken effect.
    """

    maybe_sent: bool = True


class ApiTimeoutError(KonvoxApiError):
    """Konvox did not answer in time. The call may have taken effect."""
