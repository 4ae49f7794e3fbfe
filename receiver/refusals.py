"""Why requests are refused: one word for each reason, counted and logged. Used by both ways through the listener.

A refused delivery with a good token is Konvox's own, so it is a warning: each of them may cost an event. Others are
strangers, whose requests only count.
"""

from __future__ import annotations

from typing import Final

import structlog

from receiver.counters import Counters
from receiver.responses import (
    BODY_BROKEN,
    BODY_TOO_SLOW,
    COMPRESSED,
    MALFORMED_REQUEST,
    NOT_FOUND,
    NOT_JSON,
    OTHER_COMPANY,
    REQUEST_TOO_SLOW,
    Response,
)

BROKEN_OFF: Final = "broken_off"
"""The reason of a request whose connection was lost half-way."""

_BY_RESPONSE: Final = (
    (NOT_FOUND, "not_found"),
    (NOT_JSON, "not_json"),
    (COMPRESSED, "compressed"),
    (OTHER_COMPANY, "other_company"),
    (BODY_BROKEN, "body_broken"),
    (BODY_TOO_SLOW, "body_too_slow"),
    (REQUEST_TOO_SLOW, "request_too_slow"),
    (MALFORMED_REQUEST, "malformed_request"),
)
_BY_STATUS: Final = {400: "not_an_event", 401: "bad_signature", 413: "too_large", 431: "head_too_large"}
_OTHER: Final = "other"

_ONLY_IF_VERIFIED: Final = frozenset({"other_company", "not_an_event"})
"""Reasons that are found in a body whose signature was verified, where one is asked for."""

REASONS: Final = (*(reason for _, reason in _BY_RESPONSE), *_BY_STATUS.values(), BROKEN_OFF, _OTHER)
"""All reasons: what the metric of refusals can name."""

logger = structlog.get_logger("receiver")


def reason_of(response: Response) -> str:
    """The reason of a refusal in one word of `REASONS`, made from its answer."""
    for known, reason in _BY_RESPONSE:
        if response is known:
            return reason
    return _BY_STATUS.get(response.status, _OTHER)


def count_refusal(counters: Counters, reason: str) -> None:
    """Count a refused request by its reason."""
    counters.refused += 1
    counters.refused_by_reason[reason] = counters.refused_by_reason.get(reason, 0) + 1


def log_refusal(response: Response, *, token: str | None, remote: str | None) -> None:
    """Log a refusal, if the request showed that it comes from Konvox: by a good token, or by its signature.

    Args:
        response: the answer, which says what is wrong and nothing of the request.
        token: the token in the request's path.
        remote: the peer's address.
    """
    reason = reason_of(response)
    token_is_good = token is not None and reason != "not_found"
    if token_is_good or reason in _ONLY_IF_VERIFIED:
        logger.warning(
            "delivery.refused", reason=reason, status=response.status, detail=response.content["error"], remote=remote
        )


def log_duplicate(event_id: str) -> None:
    """Log that an event was accepted before: its sender did not get our first answer, or sends it twice."""
    logger.info("duplicate.recognised", event_id=event_id)
