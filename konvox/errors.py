"""The errors of the konvox package. All are a `KonvoxError`, and carry their data as attributes."""

from __future__ import annotations


class KonvoxError(Exception):
    """The root of all errors about Konvox, its events and its API."""


class MalformedEventError(KonvoxError):
    """The body is not a Konvox event.

    Attributes:
        reason: what is wrong with it, without any part of the body.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a Konvox event: {reason}")
        self.reason = reason


class TooManyEventsError(KonvoxError):
    """An array of events is longer than an array may be.

    Attributes:
        most_events: how many it may hold.
    """

    def __init__(self, most_events: int) -> None:
        super().__init__(f"an array may hold at most {most_events} events: send the others in another request")
        self.most_events = most_events


class EventDoesNotFitError(KonvoxError):
    """An event's body does not fit the model of its type. The event is kept, but typed handlers cannot get it.

    Attributes:
        event_type: the event's name in Konvox's JSON.
        faults: one line for each fault, which names the field and no value.
    """

    def __init__(self, event_type: str, faults: list[str]) -> None:
        super().__init__(f"{event_type} does not fit its model: {'; '.join(faults)}")
        self.event_type = event_type
        self.faults = faults


class SignatureError(KonvoxError):
    """The request's signature is missing, malformed or wrong.

    Attributes:
        reason: what is wrong with it, without any part of the signature.
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
    """A call of the Konvox API failed.

    Attributes:
        message: Konvox's own message, or what is wrong; it holds neither the API key nor a webhook's URL.
        status: the status of the answer, or None if there was no answer.
        method: the method of the call; empty if no call was made.
        path: the path of the call, without its query; empty if no call was made.
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
    """Konvox would refuse an argument; nothing was sent.

    Attributes:
        argument: the name of the argument. Its value is not kept, because it may be a secret.
    """

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class BadRequestError(KonvoxApiError):
    """400: Konvox refused the values of the request; its message says why."""


class UnauthorizedError(KonvoxApiError):
    """401: the API key is missing or invalid."""


class ForbiddenError(KonvoxApiError):
    """403: the API key is valid, but its scope is too small (a read key that writes) or the plan's limit is reached."""


class NotFoundError(KonvoxApiError):
    """404: there is no such record, or it belongs to another company."""


class ConflictError(KonvoxApiError):
    """409: such a record exists already."""


class RateLimitedError(KonvoxApiError):
    """429: too many requests; the request had no effect.

    Attributes:
        retry_after_seconds: how long Konvox asks to wait, or None if it does not say.
    """

    retry_after_seconds: float | None = None


class InternalServerError(KonvoxApiError):
    """500: Konvox failed, and failed again in all retries."""


class UnexpectedStatusError(KonvoxApiError):
    """A status that Konvox does not document: often from a proxy, or a redirect, which would pass the API key on.

    Attributes:
        retry_after_seconds: how long the server asks to wait, or None if it does not say.
    """

    retry_after_seconds: float | None = None


class NotAnEnvelopeError(KonvoxApiError):
    """A success with a body that is no Konvox envelope: most likely the API's URL leads to another server."""


class AnswerDoesNotFitError(KonvoxApiError):
    """A success with an envelope that does not hold the expected record. The call may have taken effect."""


class ApiConnectionError(KonvoxApiError):
    """Konvox could not be reached, or the connection broke.

    Attributes:
        maybe_sent: whether the request may have reached Konvox and taken effect.
    """

    maybe_sent: bool = True


class ApiTimeoutError(KonvoxApiError):
    """Konvox did not answer in time. The call may have taken effect."""
