"""The grammar of ids: what is put together can be taken apart, whatever the handler is called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker import ids
from konvox.envelope import event_id_of_message

events = st.builds(event_id_of_message, st.text(min_size=1, max_size=20))
deliveries = events | st.builds(ids.replay_id, events)
handlers = st.text(min_size=1, max_size=20) | st.text("a~/#1", min_size=1, max_size=8)
attempts = st.integers(1, 1_000)
pieces = st.tuples(deliveries, st.none() | handlers, attempts)


@given(deliveries, st.none() | handlers, attempts)
def test_the_delivery_of_a_job_is_found(delivery: str, handler: str | None, attempt: int) -> None:
    """A job's id names its delivery, also if the handler's name holds the marks of the grammar."""
    assert ids.delivery_of(ids.job_id(delivery, handler, attempt)) == delivery


@given(deliveries, st.none() | handlers)
def test_the_delivery_of_a_dead_letter_is_found(delivery: str, handler: str | None) -> None:
    """A dead letter's id names its delivery, also if the handler's name holds the marks of the grammar."""
    assert ids.delivery_of(ids.dead_letter_id(delivery, handler)) == delivery


@given(events)
def test_the_event_of_a_delivery_is_found(event: str) -> None:
    """A first delivery and a replay both name their event."""
    assert ids.event_of(event) == ids.event_of(ids.replay_id(event)) == event


@given(pieces, pieces)
def test_two_jobs_have_two_ids(one: tuple[str, str | None, int], other: tuple[str, str | None, int]) -> None:
    """Different deliveries, handlers or attempts make different job ids; a first job has no attempts to tell apart."""
    same = one == other or (one[0] == other[0] and one[1] is None and other[1] is None)
    assert (ids.job_id(*one) == ids.job_id(*other)) == same


@given(deliveries, handlers, attempts, handlers, attempts)
def test_two_handlers_of_a_delivery_share_no_job(
    delivery: str, handler: str, attempt: int, other: str, other_attempt: int
) -> None:
    """No name of a handler can make its job look like another handler's job of the same delivery."""
    same_job = ids.job_id(delivery, handler, attempt) == ids.job_id(delivery, other, other_attempt)
    assert same_job == ((handler, attempt) == (other, other_attempt))


def test_two_replays_are_two_deliveries() -> None:
    """Each replay of an event gets an id of its own."""
    assert len({ids.replay_id("evt_1") for _ in range(100)}) == 100


def test_ids_look_as_they_are_documented() -> None:
    """Operators see these ids and pass them on, so their form is a promise."""
    assert ids.job_id("evt_1", None, 1) == "evt_1"
    assert ids.job_id("evt_1~2", "shop.on_reply", 3) == "evt_1~2/shop.on_reply#3"
    assert ids.dead_letter_id("evt_1", None) == "evt_1"
    assert ids.dead_letter_id("evt_1~2", "shop.on_reply") == "evt_1~2/shop.on_reply"
