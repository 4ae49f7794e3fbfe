"""The grammar of ids: how the ids of deliveries, jobs and dead letters are made from an event's id, and taken apart.

    event         evt_…                                  minted from its content (`konvox.envelope`)
    delivery      EVENT, or EVENT~SUFFIX                 the first admission, or a replay; in another namespace than
                                                         the default, NAMESPACE: stands before it
    job           DELIVERY, or DELIVERY/HANDLER#ATTEMPT  the first job, or a further attempt of one handler
    dead letter   DELIVERY, or DELIVERY/HANDLER          the event as a whole, or one handler of it

An event's id and a suffix hold none of `:~/#`, and a namespace no colon. A handler's name may hold all of them: a
delivery ends at the first `/`, whatever follows. A job that cannot be read is buried under its own id, so the id of a
dead letter may be that of a job as well; its delivery is found in the same way.

Used wherever such an id is made or read. Pure, apart from the random suffix of a replay.
"""

from __future__ import annotations

import re
import secrets

_NAMESPACE_MARK = ":"
_REPLAY_MARK = "~"
_HANDLER_MARK = "/"
_ATTEMPT_MARK = "#"
_SUFFIX_BYTES = 6
_EVENT = re.compile(f"[^{_NAMESPACE_MARK}{_REPLAY_MARK}{_HANDLER_MARK}{_ATTEMPT_MARK}]+").fullmatch


def replay_id(event_id: str) -> str:
    """A delivery id for one more replay of the event; no two are the same."""
    return f"{event_id}{_REPLAY_MARK}{secrets.token_hex(_SUFFIX_BYTES)}"


def job_id(delivery: str, handler: str | None, attempt: int) -> str:
    """The id of a job: of the first one of its delivery, or of one handler's attempt. No two jobs share one."""
    return delivery if handler is None else f"{delivery}{_HANDLER_MARK}{handler}{_ATTEMPT_MARK}{attempt}"


def dead_letter_id(delivery: str, handler: str | None) -> str:
    """The id of a dead letter: of the event as a whole, or of one handler."""
    return delivery if handler is None else f"{delivery}{_HANDLER_MARK}{handler}"


def is_event(text: str) -> bool:
    """Whether an event can have this id, because no mark of the grammar is in it."""
    return _EVENT(text) is not None


def is_delivery(text: str, event_id: str) -> bool:
    """Whether it can be the id of a delivery of that event."""
    return event_of(text) == event_id and delivery_of(text) == text


def readable(job_id: str) -> str:
    """An id with the bytes that are no text written out. Ours have none; anybody who writes to Redis may queue one."""
    return job_id.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def event_of(delivery: str) -> str:
    """The id of the event that a delivery is of."""
    return delivery.rpartition(_NAMESPACE_MARK)[2].partition(_REPLAY_MARK)[0]


def delivery_of(job_or_letter_id: str) -> str:
    """The delivery that a job or a dead letter belongs to."""
    return job_or_letter_id.partition(_HANDLER_MARK)[0]
