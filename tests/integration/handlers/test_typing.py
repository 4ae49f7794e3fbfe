"""What mypy --strict says about users' modules: nothing about a good one, and each fault of a bad one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

GOOD = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import assert_type

from handlers import Context, Drop, Retry, on
from handlers.testkit import make_context, make_event, make_plain_event
from konvox.events import ContactReplied, EnrollmentCreated, EnrollmentUnsubscribed, Event


@asynccontextmanager
async def lifespan() -> AsyncIterator[str]:
    yield "state"


@on("contact.replied", attempts=3, timeout=5, backoff=2, backoff_cap=60)
async def by_name(event: ContactReplied, ctx: Context) -> None:
    async with ctx.once("crm") as first:
        assert_type(first, bool)
    ctx.log.info("a reply", attempt=ctx.attempt, state=ctx.state)
    async with ctx.http.get("https://example.com") as response:
        if response.status == 429:
            raise Retry(after=timedelta(seconds=3))
    raise Drop("done")


@on(ContactReplied, when=lambda event: event.data.channel == "email")
async def by_class(event: ContactReplied, ctx: Context) -> None: ...


@on(ContactReplied)
def wider_than_needed(event: Event, ctx: Context) -> int:
    return 1


@on(EnrollmentCreated, EnrollmentUnsubscribed)
def by_two_classes(event: EnrollmentCreated | EnrollmentUnsubscribed, ctx: Context) -> None: ...


@on(ContactReplied, "enrollment.*", Event, when=lambda event: event.replayed)
async def mixed(event: Event, ctx: Context) -> None: ...


@on("*")
def of_everything(event: Event, ctx: Context) -> None: ...


async def test_them() -> None:
    ctx = make_context(attempt=2)
    await by_name(event=make_event("contact.replied"), ctx=ctx)
    await by_class(make_event(ContactReplied, {"subject": "Re"}, company_id="cl"), ctx)
    assert_type(wider_than_needed(make_event("contact.replied"), ctx), int)
    by_two_classes(make_event("enrollment.created", replayed=True), ctx)
    await mixed(make_event("contact.bounced"), ctx)
    of_everything(make_plain_event("enrollment.created"), ctx)
    assert ctx.logged[0]["event"] == "a reply"
"""

BAD = """
from handlers import Context, Retry, on
from handlers.testkit import make_context, make_event
from konvox.events import ContactReplied, EnrollmentCreated, Event


@on()  # error
async def of_nothing(event: Event, ctx: Context) -> None: ...


@on(ContactReplied)  # error
async def of_another_class(event: EnrollmentCreated, ctx: Context) -> None: ...


@on("contact.replied")  # error
async def without_context(event: ContactReplied) -> None: ...


@on("contact.replied", attempts="3")  # error
async def with_wrong_argument(event: ContactReplied, ctx: Context) -> None: ...


@on(ContactReplied, when=lambda event: event.data.no_such_field)  # error
async def with_wrong_predicate(event: ContactReplied, ctx: Context) -> None: ...


@on("contact.replied")
async def fine(event: ContactReplied, ctx: Context) -> None:
    ctx.no_such_thing  # error
    raise Retry(after="soon")  # error


async def test_it() -> None:
    await fine(make_event("enrollment.created"), make_context())  # error
    make_event("contact.replied", compani_id="cl")  # error
"""


@pytest.mark.timeout(240)
def test_users_modules_are_checked_as_they_should_be(tmp_path: Path) -> None:
    """One run of mypy over both, because it takes its time when it has nothing cached."""
    for name, source in (("good_hooks.py", GOOD), ("bad_hooks.py", BAD)):
        (tmp_path / name).write_text(dedent(source).lstrip())
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n")
    outcome = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "good_hooks.py", "bad_hooks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {(name, int(line)) for name, line in re.findall(r"(\w+\.py):(\d+): error:", outcome.stdout)}
    lines = BAD.lstrip().splitlines()
    expected = {("bad_hooks.py", number) for number, line in enumerate(lines, start=1) if line.endswith("# error")}
    assert found == expected, outcome.stdout + outcome.stderr
