"""How `konvox-hooks api` fails: what Konvox refuses, what is refused before it is sent, and what it asks first."""

from __future__ import annotations

import sys
from typing import Any

import orjson
import pytest

from tests.integration.konvox.scripted_konvox import KEY, envelope, failure, json_reply, scripted
from tests.support.api import (
    CONTACT,
    TOKEN,
    URL,
    ApiShell,
    Terminal,
)

CREATE_CONTACT = ["contacts", "create", "--email", "ada@example.com"]
CREATE_SENDER = ["senders", "create", "--local-part", "ada"]


@pytest.mark.parametrize(
    ("reply", "arguments", "call", "words"),
    [
        (failure(400, "email is not right"), CREATE_CONTACT, "POST /api/contacts", "status 400: email is not right"),
        (
            failure(401, f"not {KEY}"),
            ["senders", "list"],
            "GET /api/sender-identities",
            "status 401: not [the API key]",
        ),
        (failure(403, "plan limit"), ["connections", "list"], "GET /api/connections", "status 403: plan limit"),
        (failure(404, "not found"), ["campaigns", "get", "a b"], "GET /api/campaigns/a%20b", "status 404: not found"),
        (failure(409, "exists"), CREATE_SENDER, "POST /api/sender-identities", "status 409: exists"),
        (failure(500, "oh"), CREATE_CONTACT, "POST /api/contacts", "status 500: oh"),
        (json_reply([]), ["campaigns", "list"], "GET /api/campaigns", "status 200: the body is no Konvox envelope"),
        (envelope({"id": []}), ["campaigns", "get", "a"], "GET /api/campaigns/a", "status 200: not a Campaign"),
    ],
)
async def test_a_failure_is_one_line(shell: ApiShell, reply: Any, arguments: list[str], call: str, words: str) -> None:
    """A failure shows status, method, path and Konvox's words in one line on stderr, with exit code 1."""
    async with scripted(reply) as konvox:
        outcome = await shell.api(*arguments, konvox=konvox)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"konvox-hooks: {call}: {words}")
    assert outcome.err.count("\n") == 1
    assert len(konvox.asked) == 1


async def test_a_call_that_is_safe_to_repeat_is_repeated(shell: ApiShell) -> None:
    """A safe call is repeated: the wait is logged on stderr, and the result is alone on stdout."""
    async with scripted(failure(429, "slowly", {"Retry-After": "0"}), envelope([CONTACT])) as konvox:
        outcome = await shell.api("contacts", "list", "--json", konvox=konvox)
    assert outcome.exit_code == 0
    assert len(orjson.loads(outcome.out)) == 1
    assert orjson.loads(outcome.err)["event"] == "api_call.retried"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["campaigns", "create", "--name", "a", "--channel", "email"], "an email campaign needs --sender-identity-id"),
        (["campaigns", "create", "--name", " ", "--channel", "multi"], "--name must be a text that is not blank"),
        (["campaigns", "create", "--name", "a", "--channel", "fax"], "'fax' is not one of 'email', 'linkedin'"),
        (["campaigns", "update", "clc1"], "an update needs at least one field to change"),
        (["campaigns", "update", "clc1", "--status", "draft"], "'draft' is not one of 'active', 'paused', 'completed'"),
        (["campaigns", "get", ".."], "ID must be the id of a record"),
        (["campaigns", "list", "--status", "bounced"], "'bounced' is not one of"),
        (["campaigns", "delete", "clc1"], "there is no terminal to ask on: add --yes"),
        (["contacts", "list", "--limit", "201"], "201 is not in the range 1<=x<=200"),
        (["contacts", "list", "--offset", "-1"], "-1 is not in the range x>=0"),
        (["contacts", "list", "--all", "--offset", "0"], "--all excludes --limit and --offset"),
        (["contacts", "create"], "Missing option '--email'"),
        (["senders", "create", "--local-part", "Ada"], "--local-part must be lowercase letters, digits and hyphens"),
        (
            ["connections", "create", "--name", "a", "--platform", "linkedin", "--connection-method", "socialcrabs"],
            "a socialcrabs connection needs --accept-disclaimer\n",
        ),
        (
            ["connections", "create", "--name", "a", "--platform", "fax", "--connection-method", "oauth_page"],
            "'fax' is not one of",
        ),
        (
            ["webhooks", "register", "--url", f"http://example.com/{TOKEN}", "--events", "a.b"],
            "--url must begin with https://",
        ),
        (["webhooks", "register", "--url", "-", "--events", "a.b"], "--url must be a URL that begins with https://"),
        (["webhooks", "register", "--url", URL, "--events", " , "], "--events must name at least one event"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_sent(shell: ApiShell, arguments: list[str], hint: str) -> None:
    """A wrong use is exit code 2 with the option's own name, and no request is sent."""
    async with scripted() as konvox:
        outcome = await shell.api(*arguments, konvox=konvox)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert hint in outcome.err
    assert TOKEN not in outcome.err
    assert konvox.asked == []


@pytest.mark.parametrize(("given", "missing"), [({}, ["API_URL", "API_KEY"]), ({"API_KEY": KEY}, ["API_URL"])])
async def test_missing_settings_are_named_with_an_example(
    shell: ApiShell, given: dict[str, str], missing: list[str]
) -> None:
    """All missing settings are named at once, with exit code 2."""
    shell.configure(**given)
    outcome = await shell.api("campaigns", "list")
    assert (outcome.exit_code, outcome.out) == (2, "")
    lines = outcome.err.removeprefix("konvox-hooks: ").splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"KONVOX_{name}" for name in missing]
    assert all(f"(example: KONVOX_{name}=" in line for name, line in zip(missing, lines, strict=True))


@pytest.mark.parametrize(("typed", "exit_code", "calls"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
async def test_a_deletion_asks_on_a_terminal(shell: ApiShell, typed: str, exit_code: int, calls: int) -> None:
    """A deletion on a terminal asks on stderr, and only a yes deletes."""
    shell.monkeypatch.setattr(sys, "stdin", Terminal(typed))
    async with scripted(json_reply({"success": True})) as konvox:
        outcome = await shell.api("campaigns", "delete", "clc1", konvox=konvox)
    assert outcome.exit_code == exit_code
    assert konvox.calls == [("DELETE", "/api/campaigns/clc1")] * calls
    assert "Delete campaign clc1 and its enrollments for good?" in outcome.err
    assert outcome.out == ("deleted clc1\n" if calls else "")


async def test_a_deletion_with_yes_does_not_ask(shell: ApiShell) -> None:
    """With --yes a script is not asked, and a campaign that is not there is Konvox's 404."""
    async with scripted(envelope({"success": True}), failure(404, "not found")) as konvox:
        done = await shell.api("campaigns", "delete", "clc1", "--yes", konvox=konvox)
        gone = await shell.api("campaigns", "delete", "clc1", "--yes", konvox=konvox)
    assert (done.exit_code, done.out, done.err) == (0, "deleted clc1\n", "")
    assert (gone.exit_code, gone.out) == (1, "")
    assert gone.err == "konvox-hooks: DELETE /api/campaigns/clc1: status 404: not found\n"
