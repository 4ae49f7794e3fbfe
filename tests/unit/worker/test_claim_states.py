"""The states of a worker's claiming, as a table: each state and event, and what follows."""

from __future__ import annotations

import pytest

from worker.leasing.claim_states import ASKING, IN_DOUBT, TRANSITIONS, Action, Event, State

EVENTS = ("ASK", "ANSWERED", "STANDS", "LATE_ANSWER", "NO_ANSWER", "PUSHED", "STRAY_PUSH", "DOUBT", "RECOVERED")

# A column for each of EVENTS. "-" cannot happen; "!" starts the jobs that came, "x" refuses them.
TABLE = {
    "RESTING":      "ASKED  -         -          -        -       RESTING!       UNSUREx        UNSURE        -",
    "ASKED":        "-      RESTING!  STANDING!  UNSUREx  UNSURE  ASKED_PUSHED!  ASKED_UNSUREx  ASKED_UNSURE  -",
    "ASKED_PUSHED": "-      RESTING!  RESTING!   UNSUREx  UNSURE  ASKED_PUSHED!  ASKED_UNSUREx  ASKED_UNSURE  -",
    "STANDING":     "ASKED  -         -          -        -       RESTING!       UNSUREx        UNSURE        -",
    "UNSURE":       "-      -         -          -        -       UNSUREx        UNSUREx        UNSURE        RESTING",
    "ASKED_UNSURE": "-      UNSURE!   UNSURE!    UNSUREx  UNSURE  ASKED_UNSUREx  ASKED_UNSUREx  ASKED_UNSURE  -",
}  # fmt: skip
ACTIONS = {"!": Action.START, "x": Action.REFUSE}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", TABLE)
def test_each_event_leads_from_each_state_to_the_next(state: str, event: str) -> None:
    """The next state and what to do with the jobs that came are those of the table."""
    entry = TABLE[state].split()[EVENTS.index(event)]
    found = TRANSITIONS.get((State[state], Event[event]))
    if entry == "-":
        assert found is None
    else:
        assert found == (State[entry.rstrip("!x")], ACTIONS.get(entry[-1], Action.NOTHING))


def test_the_table_is_complete() -> None:
    """The table of this test has every state and every event."""
    assert list(TABLE) == [state.name for state in State]
    assert list(EVENTS) == [event.name for event in Event]


def test_while_a_claim_is_under_way_no_other_is_sent() -> None:
    """A claim can be sent exactly in the states in which none is under way and nothing is in doubt."""
    may_ask = {state for state, event in TRANSITIONS if event is Event.ASK}
    assert may_ask == set(State) - ASKING - IN_DOUBT


def test_only_a_recovery_ends_a_doubt() -> None:
    """From a state of doubt, every other event leads to a state of doubt."""
    ends = {event for (state, event), (after, _) in TRANSITIONS.items() if state in IN_DOUBT and after not in IN_DOUBT}
    assert ends == {Event.RECOVERED}


def test_nothing_is_started_from_a_push_while_in_doubt() -> None:
    """In doubt nothing is started from a push, which may have been released already, and run elsewhere."""
    for state in IN_DOUBT:
        for event in (Event.PUSHED, Event.STRAY_PUSH):
            assert TRANSITIONS[state, event][1] is Action.REFUSE
