"""The public API as users write it: code that `mypy --strict` must accept without a word.

It is not run. `tests/integration/handlers/test_typing.py` has mypy check it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import assert_type

from konvox_hooks import Context, Drop, Retry, on
from konvox_hooks.events import ContactReplied, EnrollmentCreated, EnrollmentUnsubscribed, Event
from konvox_hooks.testing import make_context, make_event, make_plain_event


@asynccontextmanager
async def lifespan() -> AsyncIterator[str]:
    """Yield what handlers find in `ctx.state`."""
    yield "state"


@on("contact.replied", attempts=3, timeout=5, backoff=2, backoff_cap=60)
async def by_name(event: ContactReplied, ctx: Context) -> None:
    """Use all of the context, and both exceptions."""
    async with ctx.once("crm") as first:
        assert_type(first, bool)
    ctx.log.info("a reply", attempt=ctx.attempt, state=ctx.state)
    async with ctx.http.get("https://example.com") as response:
        if response.status == 429:
            raise Retry(after=timedelta(seconds=3))
    raise Drop("done")


@on(ContactReplied, when=lambda event: event.data.channel == "email")
async def by_class(event: ContactReplied, ctx: Context) -> None:
    """Know the fields in the predicate."""


@on(ContactReplied)
def wider_than_needed(event: Event, ctx: Context) -> int:
    """Take any event, and return something."""
    return 1


@on(EnrollmentCreated, EnrollmentUnsubscribed)
def by_two_classes(event: EnrollmentCreated | EnrollmentUnsubscribed, ctx: Context) -> None:
    """Take either of two classes."""


@on(ContactReplied, "enrollment.*", Event, when=lambda event: event.replayed)
async def mixed(event: Event, ctx: Context) -> None:
    """Mix classes, wildcards and names."""


@on("*")
def of_everything(event: Event, ctx: Context) -> None:
    """Take any event."""


async def test_them() -> None:
    """Call handlers as in a test."""
    ctx = make_context(attempt=2)
    await by_name(event=make_event("contact.replied"), ctx=ctx)
    await by_class(make_event(ContactReplied, {"subject": "Re"}, company_id="cl"), ctx)
    assert_type(wider_than_needed(make_event("contact.replied"), ctx), int)
    by_two_classes(make_event("enrollment.created", replayed=True), ctx)
    await mixed(make_event("contact.bounced"), ctx)
    of_everything(make_plain_event("enrollment.created"), ctx)
    assert ctx.logged[0]["event"] == "a reply"
