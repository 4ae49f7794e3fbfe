"""From a status and a body to an answer or an error of ours. Pure: whatever the bytes are, nothing is raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from konvox.errors import (
    AnswerDoesNotFitError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InternalServerError,
    KonvoxApiError,
    NotAnEnvelopeError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from konvox.resources import Record

RecordT = TypeVar("RecordT", bound=Record)

DOCUMENTED_ERRORS: Mapping[int, type[KonvoxApiError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
    500: InternalServerError,
}
"""The error by status: Konvox's list, and 429, which every API behind a proxy may answer."""

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, for the errors to name."""

    method: str
    path: str

    def failed(self, kind: type[KonvoxApiError], message: str, status: int | None = None) -> KonvoxApiError:
        """The error of this call."""
        return kind(message, status=status, method=self.method, path=self.path)


@dataclass(frozen=True, slots=True)
class Answer:
    """The envelope of a success."""

    call: Call
    status: int
    # Not in the repr, because a webhook's answer may hold a secret and tracebacks may show variables.
    data: Any = field(repr=False)
    total: int | None = None

    def record(self, model: type[RecordT], context: Mapping[str, Any] | None = None) -> RecordT:
        """The record that `data` is.

        Raises:
            AnswerDoesNotFitError: it is none of this kind.
        """
        outcome = _fit(model, [self.data], context)
        if isinstance(outcome, str):
            raise self.misfit(outcome)
        return outcome[0]

    def records(self, model: type[RecordT], context: Mapping[str, Any] | None = None) -> tuple[RecordT, ...]:
        """The records that `data` lists.

        Raises:
            AnswerDoesNotFitError: it is no list, or one of the records is none of this kind.
        """
        if not isinstance(self.data, list):
            raise self.misfit("a list is expected in the envelope's data")
        outcome = _fit(model, self.data, context)
        if isinstance(outcome, str):
            raise self.misfit(outcome)
        return outcome

    def misfit(self, message: str) -> KonvoxApiError:
        """The error that says what is wrong with this answer."""
        return self.call.failed(AnswerDoesNotFitError, message, self.status)


def _fit(model: type[RecordT], items: Sequence[Any], context: Mapping[str, Any] | None) -> tuple[RecordT, ...] | str:
    try:
        return tuple(model.model_validate(item, context=context) for item in items)
    except ValidationError as error:
        # Only our own names of fields: the values, and names below them, are the server's to choose.
        fields = sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False) if fault["loc"]})
    return f"not a {model.__name__}: " + (f"missing or of another type: {', '.join(fields)}" if fields else "no object")


def read_answer(call: Call, *, status: int, body: bytes, scrub: Callable[[str], str]) -> Answer | KonvoxApiError:
    """Turn what came back into an answer, or into the error to raise.

    Args:
        call: what was asked.
        status: the answer's status; any 2xx is a success.
        body: the answer's body.
        scrub: takes the API key out of a text, should the server repeat it.
    """
    fields = _json_object(body)
    said = _message(fields, scrub)
    if not 200 <= status < 300:
        kind = DOCUMENTED_ERRORS.get(status, UnexpectedStatusError)
        return call.failed(kind, said or _without_words(kind, status), status)
    if said:
        return call.failed(AnswerDoesNotFitError, f"an error in a success: {said}", status)
    if status == 204 or (call.method == "DELETE" and fields.get("success") is True):
        return Answer(call, status, data=None)
    if "data" not in fields:
        message = "the body is no Konvox envelope ({data, error, meta}); does the API's URL lead to Konvox?"
        return call.failed(NotAnEnvelopeError, message, status)
    return Answer(call, status, fields["data"], _total(fields.get("meta")))


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        fields = from_json(body, allow_inf_nan=False)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _message(fields: Mapping[str, Any], scrub: Callable[[str], str]) -> str:
    error = fields.get("error")
    if not error:
        return ""
    if not isinstance(error, str):
        return "an error without words"
    # Scrubbed before it is cut, or half a key could stay; printable, because it ends up on terminals.
    printable = "".join(character if character.isprintable() else " " for character in scrub(error))
    return printable[:_MESSAGE_CHARACTERS].strip() or "an error without words"


def _without_words(kind: type[KonvoxApiError], status: int) -> str:
    if 300 <= status < 400:
        return (
            "a redirect, which is not followed because the request holds the API key; put the final URL in the settings"
        )
    if kind is UnexpectedStatusError:
        return "a status that Konvox does not document"
    return (kind.__doc__ or "").partition(": ")[2]


def _total(meta: Any) -> int | None:
    total = meta.get("total") if isinstance(meta, dict) else None
    return total if type(total) is int and total >= 0 else None
