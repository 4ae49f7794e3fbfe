"""The users' test kit: its events and contexts are like the worker's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from handlers import Context, on
from handlers.testkit import make_context, make_event, make_plain_event
from konvox.envelope import event_id, parse_envelope
from konvox.errors import EventDoesNotFitError
from konvox.events import EVENT_MODELS, ContactReplied, EnrollmentUnsubscribed, Event


@pytest.mark.parametrize("event_type", [*EVENT_MODELS, "contact.bounced"])
def test_every_type_has_a_sample(event_type: str) -> None:
    """An event has its type's class, if there is one, and the id and body that it would have in production."""
    event = make_event(event_type)
    assert type(event) is EVENT_MODELS.get(event_type, Event)
    assert event.id == event_id(parse_envelope(event.raw))
    assert event.type == event_type
    assert not event.replayed


def test_an_event_is_the_same_every_time() -> None:
    """An event has the same id every time, so a test may rely on it."""
    assert make_event("contact.replied").id == make_event(ContactReplied).id


def test_data_says_what_is_different_from_the_sample() -> None:
    """The given fields, in Konvox's spelling or in ours, replace those of the sample, and the rest stays."""
    event = make_event(ContactReplied, {"subject": None, "campaign_id": "clmine", "enrollmentId": None})
    assert (event.data.subject, event.data.campaign_id, event.data.enrollment_id) == (None, "clmine", None)
    assert event.data.contact_id == make_event(ContactReplied).data.contact_id


def test_data_of_an_unknown_type_is_taken_as_it_is() -> None:
    """The given data of an unknown type is used unchanged, because there is no sample."""
    assert make_event("contact.bounced", {"bounce_code": 550}).data == {"bounce_code": 550}


def test_the_other_fields_can_be_said_too() -> None:
    """Company, time and whether the event is a replay can be given too."""
    event = make_event(
        "enrollment.created", company_id="clmine", timestamp=datetime(2026, 1, 2, tzinfo=UTC), replayed=True
    )
    assert (event.company_id, event.timestamp, event.replayed) == ("clmine", datetime(2026, 1, 2, tzinfo=UTC), True)


def test_data_that_does_not_fit_is_refused() -> None:
    """Data that does not fit the model is refused: a test must not pass with an event that cannot come."""
    with pytest.raises(EventDoesNotFitError, match="contactId"):
        make_event(EnrollmentUnsubscribed, {"contact_id": ["c"]})
    assert make_event(EnrollmentUnsubscribed, {"reason": "mood"}).data.reason == "mood"


def test_a_class_of_no_event_is_refused() -> None:
    """`Event` itself is refused as a class to make an event of, because it stands for any event."""
    with pytest.raises(ValueError, match=r"give its name, or one of contact\.replied"):
        make_event(Event)


def test_plain_events_have_plain_data() -> None:
    """A plain event has its data as a mapping, as a handler that is annotated with `Event` gets it."""
    event = make_plain_event("enrollment.unsubscribed", {"reason": "mood"})
    assert type(event) is Event
    assert event.data["reason"] == "mood"
    assert event.id == event_id(parse_envelope(event.raw))


@on("contact.replied")
async def note(event: ContactReplied, ctx: Context) -> None:
    """A handler as users write it."""
    async with ctx.once("note") as first:
        if first:
            ctx.log.bind(attempt=ctx.attempt).info("a reply came", campaign_id=event.data.campaign_id, where=ctx.state)


async def test_a_handler_can_be_called_directly() -> None:
    """A handler can be called directly, and `once` remembers the first call within one context."""
    ctx = make_context(state="here", attempt=2)
    for _ in range(2):
        await note(make_event(ContactReplied), ctx)
    assert ctx.logged == [
        {
            "event": "a reply came",
            "log_level": "info",
            "attempt": 2,
            "campaign_id": "clcampaign001",
            "where": "here",
        }
    ]


@pytest.mark.parametrize("name", ["konvox", "http"])
def test_what_the_test_did_not_give_says_so(name: str) -> None:
    """If a handler uses what the test did not give, the error says how to give it."""
    with pytest.raises(AttributeError, match=rf"the handler uses ctx\.{name}\.get: call make_context\({name}=…\)"):
        getattr(make_context(), name).get("/")


def test_what_the_test_gives_is_used() -> None:
    """The context holds any stand-in that the test gives."""
    konvox, http = object(), object()
    ctx = make_context(konvox=konvox, http=http)
    assert (ctx.konvox, ctx.http) == (konvox, http)


def test_a_context_shows_no_secrets() -> None:
    """The repr of a context, which may end up in a traceback, does not show the state of a lifespan."""
    assert repr(make_context(state="hunter2")) == "CapturedContext(attempt=1)"
