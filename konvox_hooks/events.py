"""The events that Konvox sends, as handlers get them: what users annotate with.

All of it is `konvox.events` and `konvox.wire`.
"""

from __future__ import annotations

from konvox.events import (
    EVENT_MODELS,
    EVENT_NAMES,
    ContactReplied,
    ContactRepliedData,
    EnrollmentCreated,
    EnrollmentCreatedData,
    EnrollmentUnsubscribed,
    EnrollmentUnsubscribedData,
    Event,
    Receipt,
    plain_event,
    typed_event,
)
from konvox.wire import UnknownValue, WireModel

__all__ = [
    "EVENT_MODELS",
    "EVENT_NAMES",
    "ContactReplied",
    "ContactRepliedData",
    "EnrollmentCreated",
    "EnrollmentCreatedData",
    "EnrollmentUnsubscribed",
    "EnrollmentUnsubscribedData",
    "Event",
    "Receipt",
    "UnknownValue",
    "WireModel",
    "plain_event",
    "typed_event",
]
