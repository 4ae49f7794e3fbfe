"""Turn the status and body of an answer into an `Answer` or an error. Pure; `read_answer` raises for no input.

Called by `transport`; `calls` takes the records out of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
"""The error of each status: Konvox's documented ones, and 429, which a proxy in front of an API may answer."""

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Call:
    """The method and path of a call, for its errors."""

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
    # Not in the repr: a webhook's answer may hold a secret, and tracebacks may show local variables.
    data: Any = field(repr=False)
    total: int | None = None

    def record(self, model: type[RecordT], context: Mapping[str, Any] | None = None) -> RecordT:
        """`data` as a record.

        Raises:
            AnswerDoesNotFitError: it does not fit the model.
        """
        record = _fit(model, self.data, context)
        if isinstance(record, str):
            raise self.misfit(record)
        return record

    def records(self, model: type[RecordT], context: Mapping[str, Any] | None = None) -> tuple[RecordT, ...]:
        """`data` as a list of records. One that does not fit the model shows what can be read of it.

        Raises:
            AnswerDoesNotFitError: it is no list.
        """
        if not isinstance(self.data, list):
            raise self.misfit("a list is expected in the envelope's data")
        return tuple(_read(model, item, context) for item in self.data)

    def misfit(self, message: str) -> KonvoxApiError:
        """The error that says what is wrong with this answer."""
        return self.call.failed(AnswerDoesNotFitError, message, self.status)


def _fit(model: type[RecordT], item: Any, context: Mapping[str, Any] | None) -> RecordT | str:
    """A record, or what is wrong with it. Not an exception: the error of the model quotes what the server sent."""
    try:
        return model.model_validate(item, context=context)
    except ValidationError as error:
        # Only the names of our own fields: values and nested names come from the server.
        fields = sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False) if fault["loc"]})
    return f"not a {model.__name__}: " + (f"missing or of another type: {', '.join(fields)}" if fields else "no object")


def _read(model: type[RecordT], item: Any, context: Mapping[str, Any] | None) -> RecordT:
    """An item of a list as a record.

    If it has no id that can be read, that is empty. What is in its place, or no object at all, is in the field `value`.
    """
    record = _fit(model, item, context)
    if not isinstance(record, str):
        return record
    fields = item if isinstance(item, dict) else {}
    value = fields.get("id") if isinstance(item, dict) else item
    odd = {**fields, "id": ""} if value is None else {**fields, "id": "", "value": value}
    return model.model_validate(odd, context=context)


def read_answer(call: Call, *, status: int, body: bytes, scrub: Callable[[str], str]) -> Answer | KonvoxApiError:
    """Turn an HTTP answer into an `Answer`, or into the error for the caller to raise.

    Args:
        call: the call.
        status: the answer's status; any 2xx is a success.
        body: the answer's body.
        scrub: replaces the API key in a text; the server may have repeated it.
    """
    fields = _json_object(body)
    message = _message(fields, scrub)
    if not 200 <= status < 300:
        kind = DOCUMENTED_ERRORS.get(status, UnexpectedStatusError)
        return call.failed(kind, message or _default_message(kind, status), status)
    if message:
        return call.failed(AnswerDoesNotFitError, f"an error in a success: {message}", status)
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
    # Scrubbed before it is cut, because a cut key would stay. Printable, because terminals show it.
    printable = "".join(character if character.isprintable() else " " for character in scrub(error))
    return printable[:_MESSAGE_CHARACTERS].strip() or "an error without words"


def _default_message(kind: type[KonvoxApiError], status: int) -> str:
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
