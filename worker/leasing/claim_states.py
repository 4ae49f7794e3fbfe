"""The states of a worker's claiming, and what leads from one to the next. Pure; `claimer.py` does the I/O.

A worker asks Redis for jobs. If there are none and the worker is idle, its claim is left standing in Redis: the next
admission leases its events to the worker and pushes them to it. An answer or a push may get lost on its way, or arrive
so late that its leases have lapsed. Then the worker is unsure: jobs may be leased to it that it does not know of. It
recovers before it asks again: what it knows is renewed, all else in its name is released, and no claim stands.

                .------------ ANSWERED ----------.
                v                                |
    .------> RESTING ---------- ASK ---------> ASKED ------ STANDS -----> STANDING
    |           ^                              ^ | |                        | |
    |           |                              | | '--- PUSHED ---.        | |
    |           |                              '-|--------------- | - ASK --' |
    |           |                                |                v           |
    |           +---------- any answer ----------|---------- ASKED_PUSHED     |
    |           |                                |                            |
    |           '------------------------------- | -------- PUSHED -----------+
    |                                            |                            |
    |                                    no answer in time                  doubt
    |                                            |                            |
    |                                            v                            |
    '--------------- RECOVERED --------------- UNSURE <-----------------------'
                                                 ^
                                                 '-- any answer, or none -- ASKED_UNSURE

A doubt (DOUBT, STRAY_PUSH) leads from RESTING and STANDING to UNSURE, and from ASKED and ASKED_PUSHED to ASKED_UNSURE,
where any push is refused. Without an answer in time (LATE_ANSWER, NO_ANSWER), ASKED_PUSHED leads to UNSURE like ASKED.
A push in RESTING is is_wanted: it was overtaken by the answer that said that nothing stands any more.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """What is under way between a worker and Redis."""

    RESTING = auto()
    """Nothing is: no question, no standing claim."""

    ASKED = auto()
    """A claim was sent, and its answer has not come. One from before may still be standing."""

    ASKED_PUSHED = auto()
    """The same, but a push has come since: it has used up whatever claim the answer may still call standing."""

    STANDING = auto()
    """A claim stands in Redis."""

    UNSURE = auto()
    """Jobs may be leased to the worker that it does not know of. It has to recover before it asks."""

    ASKED_UNSURE = auto()
    """Both: it cannot recover yet, because the claim under way might be carried out after that."""


class Event(Enum):
    """What happens to a worker's claiming."""

    ASK = auto()
    """A claim is sent."""

    ANSWERED = auto()
    """Its answer came in time; no claim stands."""

    STANDS = auto()
    """Its answer came in time; the claim stands."""

    LATE_ANSWER = auto()
    """Its answer lay there for so long that the leases may have lapsed."""

    NO_ANSWER = auto()
    """Its answer will not come: the connection was lost, say."""

    PUSHED = auto()
    """A push came in time, for the claim that the worker knows to stand or has asked to stand."""

    STRAY_PUSH = auto()
    """A push came too late, or for an earlier claim."""

    DOUBT = auto()
    """A push may have been lost: there was no connection, or the worker was suspended while its claim stood."""

    RECOVERED = auto()
    """What is unknown to the worker was released, and its standing claim withdrawn."""


class Action(Enum):
    """What to do with the jobs that came."""

    NOTHING = auto()
    """None came."""

    START = auto()
    """Run them."""

    REFUSE = auto()
    """Do not: somebody else may be running them by now. The recovery releases those that are still ours."""


_RESTING, _ASKED, _ASKED_PUSHED, _STANDING, _UNSURE, _ASKED_UNSURE = State

TRANSITIONS: dict[tuple[State, Event], tuple[State, Action]] = {
    (_RESTING, Event.ASK): (_ASKED, Action.NOTHING),
    (_RESTING, Event.PUSHED): (_RESTING, Action.START),
    (_RESTING, Event.STRAY_PUSH): (_UNSURE, Action.REFUSE),
    (_RESTING, Event.DOUBT): (_UNSURE, Action.NOTHING),
    # While a claim is under way.
    (_ASKED, Event.ANSWERED): (_RESTING, Action.START),
    (_ASKED, Event.STANDS): (_STANDING, Action.START),
    (_ASKED, Event.LATE_ANSWER): (_UNSURE, Action.REFUSE),
    (_ASKED, Event.NO_ANSWER): (_UNSURE, Action.NOTHING),
    (_ASKED, Event.PUSHED): (_ASKED_PUSHED, Action.START),
    (_ASKED, Event.STRAY_PUSH): (_ASKED_UNSURE, Action.REFUSE),
    (_ASKED, Event.DOUBT): (_ASKED_UNSURE, Action.NOTHING),
    # The same after a push.
    (_ASKED_PUSHED, Event.ANSWERED): (_RESTING, Action.START),
    (_ASKED_PUSHED, Event.STANDS): (_RESTING, Action.START),
    (_ASKED_PUSHED, Event.LATE_ANSWER): (_UNSURE, Action.REFUSE),
    (_ASKED_PUSHED, Event.NO_ANSWER): (_UNSURE, Action.NOTHING),
    (_ASKED_PUSHED, Event.PUSHED): (_ASKED_PUSHED, Action.START),
    (_ASKED_PUSHED, Event.STRAY_PUSH): (_ASKED_UNSURE, Action.REFUSE),
    (_ASKED_PUSHED, Event.DOUBT): (_ASKED_UNSURE, Action.NOTHING),
    # While a claim stands.
    (_STANDING, Event.ASK): (_ASKED, Action.NOTHING),
    (_STANDING, Event.PUSHED): (_RESTING, Action.START),
    (_STANDING, Event.STRAY_PUSH): (_UNSURE, Action.REFUSE),
    (_STANDING, Event.DOUBT): (_UNSURE, Action.NOTHING),
    # While jobs may be ours that we do not know of.
    (_UNSURE, Event.PUSHED): (_UNSURE, Action.REFUSE),
    (_UNSURE, Event.STRAY_PUSH): (_UNSURE, Action.REFUSE),
    (_UNSURE, Event.DOUBT): (_UNSURE, Action.NOTHING),
    (_UNSURE, Event.RECOVERED): (_RESTING, Action.NOTHING),
    # The same while a claim is under way.
    (_ASKED_UNSURE, Event.ANSWERED): (_UNSURE, Action.START),
    (_ASKED_UNSURE, Event.STANDS): (_UNSURE, Action.START),
    (_ASKED_UNSURE, Event.LATE_ANSWER): (_UNSURE, Action.REFUSE),
    (_ASKED_UNSURE, Event.NO_ANSWER): (_UNSURE, Action.NOTHING),
    (_ASKED_UNSURE, Event.PUSHED): (_ASKED_UNSURE, Action.REFUSE),
    (_ASKED_UNSURE, Event.STRAY_PUSH): (_ASKED_UNSURE, Action.REFUSE),
    (_ASKED_UNSURE, Event.DOUBT): (_ASKED_UNSURE, Action.NOTHING),
}
"""All that can happen. A pair that is missing cannot: an answer without a question, say, or a question while unsure."""

ASKING = frozenset({_ASKED, _ASKED_PUSHED, _ASKED_UNSURE})
"""A claim is under way: another one has to wait. Each might bring a suspect, and those are to be run one at a time."""

IN_DOUBT = frozenset({_UNSURE, _ASKED_UNSURE})
"""What was pushed for the claims of before is not run any more."""
