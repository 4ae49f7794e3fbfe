"""`handlers.slack` against a server that answers as Slack does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from handlers import Retry
from handlers.loader import load
from handlers.slack import SlackError, lifespan, message, tell_slack
from handlers.testkit import CapturedContext, make_context, make_event
from konvox.events import ContactReplied

SECRET_PATH = "/services/T000/B000/hunter2"


class Slack:
    """A Slack that notes what it is sent, and answers as a test sets.

    Attributes:
        received: the JSON of each request.
        status: of the next answers.
        headers: of the next answers.
    """

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.server = TestServer(web.Application())
        self.server.app.router.add_post(SECRET_PATH, self._take)

    @property
    def url(self) -> URL:
        """The webhook's URL, a secret."""
        return self.server.make_url(SECRET_PATH)

    async def _take(self, request: web.Request) -> web.Response:
        self.received.append(await request.json())
        return web.Response(status=self.status, headers=self.headers, text="ok")


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    """A running Slack."""
    slack = Slack()
    async with slack.server:
        yield slack


@pytest.fixture
async def ctx(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CapturedContext]:
    """A context with what the worker would put in: the shared session, and the state from the lifespan."""
    monkeypatch.setenv("SLACK_WEBHOOK_URL", str(slack.url))
    async with aiohttp.ClientSession() as http, lifespan() as state:
        yield make_context(http=http, state=state)


async def test_a_reply_that_says_little_becomes_a_message(slack: Slack, ctx: CapturedContext) -> None:
    """What Konvox leaves out is left out, and a new channel links nowhere."""
    blank = dict.fromkeys(["contact_id", "channel", "subject", "campaign_id", "enrollment_id"])
    assert message(make_event(ContactReplied, blank)) == "Reply\nunknown contact, no campaign"
    text = message(make_event(ContactReplied, {**blank, "channel": "<https://x>" * 100, "contact_id": 7}))
    assert text.startswith("Reply by &lt;https://x&gt;&lt;")
    assert len(text) < 700
    await tell_slack(make_event(ContactReplied, blank), ctx)
    assert len(slack.received) == 1


async def test_a_reply_becomes_one_message(slack: Slack, ctx: CapturedContext) -> None:
    """A reply becomes one message, however often the event is delivered."""
    for _ in range(2):
        await tell_slack(make_event(ContactReplied), ctx)
    assert slack.received == [
        {"text": "Reply by email: *Re: Quick question*\ncontact clcontact001, campaign clcampaign001"}
    ]


@pytest.mark.parametrize(
    ("header", "seconds"), [("30", 30.0), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("²", None)]
)
async def test_slack_says_when_to_try_again(
    slack: Slack, ctx: CapturedContext, header: str, seconds: float | None
) -> None:
    """`Retry-After` counts, as seconds or as a date; without one that can be read, the usual backoff does."""
    slack.status, slack.headers = 429, {"Retry-After": header}
    with pytest.raises(Retry) as caught:
        await tell_slack(make_event(ContactReplied), ctx)
    assert caught.value.after_seconds == seconds


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_what_slack_did_not_take_is_sent_again(slack: Slack, ctx: CapturedContext, status: int) -> None:
    """A message that Slack refuses is an error without the URL, and the retry sends it again."""
    slack.status, slack.headers = status, {"Location": "/elsewhere"}
    with pytest.raises(SlackError, match=f"Slack answered {status}") as caught:
        await tell_slack(make_event(ContactReplied), ctx)
    assert "hunter2" not in repr(caught.value)
    slack.status = 200
    await tell_slack(make_event(ContactReplied), ctx)
    assert len(slack.received) == 2


async def test_an_unreachable_slack_is_an_error_without_the_url(slack: Slack, ctx: CapturedContext) -> None:
    """The error about an unreachable Slack hides that of aiohttp, which may hold the URL."""
    await slack.server.close()
    with pytest.raises(SlackError, match="cannot be reached: ClientConnectorError") as caught:
        await tell_slack(make_event(ContactReplied), ctx)
    assert caught.value.__suppress_context__
    assert ctx.logged == []


@pytest.mark.parametrize("url", [None, "", "  ", "hooks.slack.com/services/hunter2", "ftp://hunter2/x", "https://"])
async def test_without_a_webhook_it_does_not_start(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    """Without a valid webhook the lifespan fails with what to set, but does not show what is set."""
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", url)
    with pytest.raises(SlackError, match="needs SLACK_WEBHOOK_URL in the environment") as caught:
        async with lifespan():
            pass
    assert "hunter2" not in str(caught.value)


def test_what_contacts_write_is_escaped_and_cut() -> None:
    """A subject can neither mention nor link anything, and is cut to a length that Slack accepts."""
    event = make_event(ContactReplied, {"subject": "<!channel> & <b>", "campaignId": None})
    assert message(event) == ("Reply by email: *&lt;!channel&gt; &amp; &lt;b&gt;*\ncontact clcontact001, no campaign")
    assert len(message(make_event(ContactReplied, {"subject": "x" * 1_000_000}))) < 400


def test_a_linkedin_reply_has_no_subject() -> None:
    """The message about a LinkedIn reply has no subject."""
    event = make_event(ContactReplied, {"channel": "linkedin", "subject": None})
    assert message(event).startswith("Reply by linkedin\n")


def test_it_is_plugged_in_by_its_name() -> None:
    """`handlers.slack` brings its handler and its lifespan."""
    loaded = load(["handlers.slack"], entry_points=False)
    assert [handler.name for handler in loaded.registry] == ["handlers.slack.tell_slack"]
    assert loaded.lifespans == {"handlers.slack": lifespan}
