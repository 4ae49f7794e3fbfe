"""The envelope around every answer, errors included: `{"data", "error"}`, and `meta` on lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

_log = structlog.get_logger()

_MESSAGES = {
    404: "not found",
    405: "this method is not allowed here",
    413: "the body is too large",
}


class RefusedError(Exception):
    """A request is refused; the middleware turns this into an answer.

    Attributes:
        status: the HTTP status.
        message: the envelope's `error`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def answer(data: Any, *, status: int = 200) -> web.Response:
    """An answer with one record, or with other data that is no list."""
    return _response({"data": data, "error": None}, status)


def list_answer(records: Sequence[Any], *, total: int | None = None) -> web.Response:
    """An answer with a list, and the total number of records in `meta`."""
    return _response({"data": records, "error": None, "meta": {"total": len(records) if total is None else total}}, 200)


async def json_object(request: web.Request) -> dict[str, Any]:
    """The request's body as a JSON object.

    Raises:
        RefusedError: it is none; status 400.
    """
    try:
        fields = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return fields


@web.middleware
async def envelope_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error, expected or not, with an envelope."""
    try:
        return await handler(request)
    except RefusedError as error:
        return _refusal(error.status, error.message)
    except web.HTTPException as error:
        allow = error.headers.get("Allow")
        return _refusal(error.status, _MESSAGES.get(error.status, error.reason), {"Allow": allow} if allow else {})
    except Exception as error:  # noqa: BLE001 - the outermost code: the caller gets the documented 500
        _log.error("sandbox.request_failed", method=request.method, path=request.path, error=type(error).__name__)
        return _refusal(500, "internal error: try again in a few seconds")


def _refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return _response({"data": None, "error": message}, status, headers)


def _response(envelope: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps(envelope)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
