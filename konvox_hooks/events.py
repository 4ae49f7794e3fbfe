"""The events that Konvox sends, as handlers get them: what users annotate with. All of it is `konvox.events`."""

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
    WireModel,
    plain_event,
    typed_event,
)

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
    "WireModel",
    "plain_event",
    "typed_event",
]
