"""Tests of `konvox-hooks register` with a Konvox that answers 409: it compares again, and says what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.integration.konvox.scripted_konvox import KEY, Reply, ScriptedKonvox, envelope, failure, scripted
from tests.support.registration import URL, Outcome, Shell


def listed(*webhooks: dict[str, Any]) -> Reply:
    """An answer with webhooks."""
    return envelope(list(webhooks), total=len(webhooks))


def known(*events: str) -> dict[str, Any]:
    """A webhook with our URL."""
    return {"id": "wh1", "url": URL, "events": list(events), "active": True}


async def registered(shell: Shell, replies: Sequence[Reply], *options: str) -> tuple[Outcome, ScriptedKonvox]:
    """Register two events at a Konvox with these answers."""
    async with scripted(*replies) as konvox:
        shell.configure(API_URL=konvox.url, API_KEY=KEY)
        outcome = await shell.register("--events", "contact.replied,enrollment.created", *options)
    return outcome, konvox


CONFLICT = failure(409, "this URL exists")


async def test_somebody_was_faster(shell: Shell) -> None:
    """If somebody has just registered the same, the second look finds nothing to do, and the exit code is 0."""
    replies = [listed(), CONFLICT, listed(known("enrollment.created", "contact.replied"))]
    outcome, konvox = await registered(shell, replies)
    assert (outcome.exit_code, outcome.out.partition(":")[0]) == (0, "already registered")
    assert [method for method, _ in konvox.calls] == ["GET", "POST", "GET"]


async def test_somebody_was_faster_with_other_events(shell: Shell) -> None:
    """If somebody has just registered other events, the second look finds a difference, and the exit code is 3."""
    outcome, _ = await registered(shell, [listed(), CONFLICT, listed(known("contact.replied"))])
    assert outcome.exit_code == 3
    assert outcome.out.splitlines()[1:] == ["  + enrollment.created: wanted, not delivered"]


async def test_a_conflict_with_nothing_is_a_failure(shell: Shell) -> None:
    """A conflict with a webhook that is not listed shows Konvox's words and where to look, with exit code 1."""
    outcome, _ = await registered(shell, [listed(), CONFLICT, listed()])
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert "this URL exists" in outcome.err
    assert "dashboard" in outcome.err


async def test_a_konvox_that_takes_a_url_once_only(shell: Shell) -> None:
    """If a second webhook for the missing events is refused, the command points to the dashboard."""
    one = listed(known("contact.replied"))
    outcome, konvox = await registered(shell, [one, CONFLICT, one], "--add-missing")
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert "delivers enrollment.created to this URL" in outcome.err
    assert konvox.asked[1].body["events"] == ["enrollment.created"]


@pytest.mark.parametrize("reply", [failure(400, "no"), failure(403, "plan limit"), failure(500, "sorry")])
async def test_other_refusals_are_konvox_words(shell: Shell, reply: Reply) -> None:
    """Another refusal is exit code 1 after one POST only: after a 500 the webhook may exist."""
    outcome, konvox = await registered(shell, [listed(), reply])
    assert outcome.exit_code == 1
    assert [method for method, _ in konvox.calls] == ["GET", "POST"]
