"""The grammar of ids: how the ids of deliveries, jobs and dead letters are made from an event's id, and taken apart.

    event         evt_…                                  minted from its content (`konvox.envelope`)
    delivery      EVENT, or EVENT~SUFFIX                 the first admission, or a replay
    job           DELIVERY, or DELIVERY/HANDLER#ATTEMPT  the first job, or a further attempt of one handler
    dead letter   DELIVERY, or DELIVERY/HANDLER          the event as a whole, or one handler of it

An event's id and a suffix hold neither `~` nor `/` nor `#`. A handler's name may hold all three: a delivery ends at the
first `/`, whatever follows. A job that cannot be read is buried under its own id, so the id of a dead letter may be
that of a job as well; its delivery is found in the same way.

Used wherever such an id is made or read. Pure, apart from the random suffix of a replay.
"""

from __future__ import annotations

import secrets

_REPLAY_MARK = "~"
_HANDLER_MARK = "/"
_ATTEMPT_MARK = "#"
_SUFFIX_BYTES = 6


def replay_id(event_id: str) -> str:
    """A delivery id for one more replay of the event; no two are the same."""
    return f"{event_id}{_REPLAY_MARK}{secrets.token_hex(_SUFFIX_BYTES)}"


def job_id(delivery: str, handler: str | None, attempt: int) -> str:
    """The id of a job: of the first one of its delivery, or of one handler's attempt. No two jobs share one."""
    return delivery if handler is None else f"{delivery}{_HANDLER_MARK}{handler}{_ATTEMPT_MARK}{attempt}"


def dead_letter_id(delivery: str, handler: str | None) -> str:
    """The id of a dead letter: of the event as a whole, or of one handler."""
    return delivery if handler is None else f"{delivery}{_HANDLER_MARK}{handler}"


def event_of(delivery: str) -> str:
    """The id of the event that a delivery is of."""
    return delivery.partition(_REPLAY_MARK)[0]


def delivery_of(job_or_letter_id: str) -> str:
    """The delivery that a job or a dead letter belongs to."""
    return job_or_letter_id.partition(_HANDLER_MARK)[0]
