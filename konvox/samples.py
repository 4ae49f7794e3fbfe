"""Sample events: bodies as Konvox sends them, with consistent ids.

Called by the sandbox, the demo, `konvox-hooks trigger` and the users' test kit. Pure if a timestamp is given; otherwise
it reads the clock.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

SAMPLE_COMPANY_ID = "clxyz123"

_SAMPLES: dict[str, dict[str, Any]] = {
    "contact.replied": {
        "contactId": "clcontact001",
        "channel": "email",
        "subject": "Re: Quick question",
        "campaignId": "clcampaign001",
        "enrollmentId": "clenrollment001",
    },
    "enrollment.created": {
        "enrollmentId": "clenrollment001",
        "contactId": "clcontact001",
        "campaignId": "clcampaign001",
    },
    "enrollment.unsubscribed": {
        "enrollmentId": "clenrollment001",
        "contactId": "clcontact001",
        "campaignId": "clcampaign001",
        "reason": "opt_out_keyword",
    },
}
_SAMPLE_OF_UNKNOWN_TYPE: dict[str, Any] = {"sample": True}


def sample_data(event_type: str) -> dict[str, Any]:
    """The `data` of a sample event in its JSON form: a new copy that the caller may change.

    For an event that Konvox does not document it is a small mapping.
    """
    return copy.deepcopy(_SAMPLES.get(event_type, _SAMPLE_OF_UNKNOWN_TYPE))


def sample_body(
    event_type: str,
    *,
    data: Mapping[str, Any] | None = None,
    company_id: str = SAMPLE_COMPANY_ID,
    timestamp: datetime | str | None = None,
) -> bytes:
    """The body of the request that Konvox would send for an event.

    Args:
        event_type: the event's name, documented or not.
        data: the event's `data` instead of the sample of its type.
        company_id: the company of the event.
        timestamp: when it happened: a `datetime` with a time zone, or the text to send; now by default.

    Raises:
        ValueError: the timestamp has no time zone.
    """
    if timestamp is None:
        timestamp = datetime.now(UTC)
    return orjson.dumps(
        {
            "event": event_type,
            "timestamp": timestamp if isinstance(timestamp, str) else wire_timestamp(timestamp),
            "companyId": company_id,
            "data": sample_data(event_type) if data is None else data,
        }
    )


def wire_timestamp(moment: datetime) -> str:
    """A moment in Konvox's format: ISO 8601 in UTC with milliseconds and `Z`.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("the timestamp has no time zone: give it one, as in datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
