"""Tests of the calls of `konvox-hooks api` over a real socket: requests to Konvox, output, and exit codes."""

from __future__ import annotations

import json
import sys
from typing import Any

import orjson
import pytest

from tests.integration.konvox.scripted_konvox import KEY, envelope, failure, json_reply, scripted
from tests.support.api_shell import TOKEN, URL, WEBHOOK, ApiShell, Terminal

CAMPAIGN = {
    "id": "clc1",
    "name": "Spring",
    "channel": "email",
    "status": "active",
    "targetsByState": {"active": 3, "replied": 2},
    "createdAt": "2026-05-20T14:32:00.000Z",
}
CONTACT = {"id": "clp1", "email": "ada@example.com", "firstName": "Ada", "status": "active", "score": 2**70}
SENDER = {"id": "cls1", "address": "ada@x.konvox.io", "displayName": "Ada", "dailyLimit": 40, "warmup": {"day": 3}}
CONNECTION = {"id": "clk1", "name": "Mine", "platform": "linkedin", "connectionMethod": "oauth_personal"}

CREATE_CONTACT = ["contacts", "create", "--email", "ada@example.com"]
CREATE_SENDER = ["senders", "create", "--local-part", "ada"]


LISTS: list[Any] = [
    pytest.param(
        ["campaigns", "list", "--status", "active"],
        ("/api/campaigns", {"status": "active"}),
        CAMPAIGN,
        [
            ["ID", "NAME", "CHANNEL", "STATUS", "TARGETS", "CREATED"],
            ["clc1", "Spring", "email", "active", "active 3, replied 2", "2026-05-20T14:32:00.000Z"],
        ],
        id="campaigns",
    ),
    pytest.param(
        ["contacts", "list", "--status", "bounced", "--limit", "7", "--offset", "3"],
        ("/api/contacts", {"status": "bounced", "limit": "7", "offset": "3"}),
        CONTACT,
        [
            ["ID", "EMAIL", "FIRST NAME", "LAST NAME", "COMPANY", "TITLE", "STATUS"],
            ["clp1", "ada@example.com", "Ada", "", "", "", "active"],
        ],
        id="contacts",
    ),
    pytest.param(
        ["senders", "list"],
        ("/api/sender-identities", {}),
        SENDER,
        [
            ["ID", "ADDRESS", "DISPLAY NAME", "DAILY LIMIT", "WARMUP"],
            ["cls1", "ada@x.konvox.io", "Ada", "40", '{"day":3}'],
        ],
        id="senders",
    ),
    pytest.param(
        ["connections", "list"],
        ("/api/connections", {}),
        CONNECTION,
        [["ID", "NAME", "PLATFORM", "METHOD", "USERNAME"], ["clk1", "Mine", "linkedin", "oauth_personal", ""]],
        id="connections",
    ),
    pytest.param(
        ["webhooks", "list", "--show-urls"],
        ("/api/webhooks", {}),
        WEBHOOK,
        [["ID", "URL", "EVENTS", "ACTIVE", "CREATED"], ["clw1", URL, "contact.replied", "no", ""]],
        id="webhooks",
    ),
]

WRITES: list[Any] = [
    pytest.param(
        ["campaigns", "get", "cl/c1"],
        ("GET", "/api/campaigns/cl%2Fc1", None),
        CAMPAIGN,
        id="get campaign",
    ),
    pytest.param(
        [
            *("campaigns", "create", "--name", "Spring", "--channel", "email"),
            *("--profile-id", "p1", "--sender-identity-id", "s1"),
        ],
        (
            "POST",
            "/api/campaigns",
            {"name": "Spring", "channel": "email", "profileId": "p1", "senderIdentityId": "s1"},
        ),
        CAMPAIGN,
        id="create campaign",
    ),
    pytest.param(
        [
            *("campaigns", "update", "clc1", "--name", "Summer", "--channel", "multi", "--status", "paused"),
            *("--profile-id", "p2", "--sender-identity-id", "s2"),
        ],
        (
            "PATCH",
            "/api/campaigns/clc1",
            {"name": "Summer", "channel": "multi", "profileId": "p2", "senderIdentityId": "s2", "status": "paused"},
        ),
        CAMPAIGN,
        id="update campaign",
    ),
    pytest.param(
        [
            *("contacts", "create", "--email", "ada@example.com", "--first-name", "Ada", "--last-name", "Lovelace"),
            *("--company-name", "Engines", "--linkedin-url", "https://linkedin.example/ada", "--title", "Countess"),
        ],
        (
            "POST",
            "/api/contacts",
            {
                "email": "ada@example.com",
                "firstName": "Ada",
                "lastName": "Lovelace",
                "companyName": "Engines",
                "linkedinUrl": "https://linkedin.example/ada",
                "title": "Countess",
            },
        ),
        CONTACT,
        id="create contact",
    ),
    pytest.param(
        ["senders", "create", "--local-part", "ada", "--display-name", "Ada"],
        ("POST", "/api/sender-identities", {"localPart": "ada", "displayName": "Ada"}),
        SENDER,
        id="create sender",
    ),
    pytest.param(
        [
            *("connections", "create", "--name", "Mine", "--platform", "linkedin"),
            *("--connection-method", "socialcrabs", "--username", "ada", "--accept-disclaimer"),
        ],
        (
            "POST",
            "/api/connections",
            {
                "name": "Mine",
                "platform": "linkedin",
                "connectionMethod": "socialcrabs",
                "username": "ada",
                "disclaimerAccepted": True,
            },
        ),
        CONNECTION,
        id="create connection",
    ),
    pytest.param(
        ["connections", "create", "--name", "Mine", "--platform", "email", "--connection-method", "oauth_page"],
        ("POST", "/api/connections", {"name": "Mine", "platform": "email", "connectionMethod": "oauth_page"}),
        CONNECTION,
        id="create connection without a disclaimer",
    ),
    pytest.param(
        ["webhooks", "register", "--url", URL, "--events", "contact.replied, a.b,", "--inactive"],
        ("POST", "/api/webhooks", {"url": URL, "events": ["contact.replied", "a.b"], "active": False}),
        WEBHOOK | {"url": "https://hooks.example.com/hooks/konvox"},
        id="register webhook",
    ),
]


@pytest.mark.parametrize(("arguments", "asked", "record", "rows"), LISTS)
async def test_a_list_is_a_table_or_what_the_api_sent(
    shell: ApiShell,
    arguments: list[str],
    asked: tuple[str, dict[str, str]],
    record: dict[str, Any],
    rows: list[list[str]],
) -> None:
    """A piped list is tab-separated, and `--json` shows the API's records with unknown fields and large numbers."""
    async with scripted(envelope([record]), envelope([record])) as konvox:
        table = await shell.api(*arguments, konvox=konvox)
        document = await shell.api(*arguments, "--json", konvox=konvox)
    assert [(each.method, each.path, each.query) for each in konvox.asked] == [("GET", *asked)] * 2
    assert (table.exit_code, table.err, table.rows) == (0, "", rows)
    assert (document.exit_code, document.err) == (0, "")
    # Not orjson, which reads a number of more than 64 bits as a float.
    assert json.loads(document.out) == [record]


@pytest.mark.parametrize(("arguments", "asked", "record"), WRITES)
async def test_one_record_is_shown_with_every_field(
    shell: ApiShell, arguments: list[str], asked: tuple[str, str, Any], record: dict[str, Any]
) -> None:
    """Each option reaches its field, and the answer is shown as fields and values, or in the API's form."""
    async with scripted(envelope(record, status=201), envelope(record)) as konvox:
        table = await shell.api(*arguments, konvox=konvox)
        document = await shell.api(*arguments, "--json", konvox=konvox)
    assert [(each.method, each.path, each.body) for each in konvox.asked] == [asked] * 2
    assert (table.exit_code, document.exit_code) == (0, 0)
    assert table.err + document.err == ""
    assert table.rows[0] == ["FIELD", "VALUE"]
    assert {name for name, _ in table.rows[1:]} == set(record)
    assert json.loads(document.out) == record


@pytest.mark.parametrize(
    ("total", "options", "note"),
    [
        (1, [], "konvox-hooks: 1 of 1 contacts\n"),
        (340, [], "konvox-hooks: 1 of 340 contacts; --offset shows the next ones, --all shows all\n"),
        (340, ["--json"], "konvox-hooks: 1 of 340 contacts; --offset shows the next ones, --all shows all\n"),
        (1, ["--json"], ""),
        (None, [], ""),
    ],
)
async def test_the_total_is_told_apart_from_the_result(
    shell: ApiShell, total: int | None, options: list[str], note: str
) -> None:
    """The total goes to stderr, with a table always and otherwise if records are missing; pages have Konvox's size."""
    async with scripted(envelope([CONTACT], total=total)) as konvox:
        outcome = await shell.api("contacts", "list", *options, konvox=konvox)
    assert (outcome.exit_code, outcome.err) == (0, note)
    assert konvox.asked[0].query == {"limit": "50", "offset": "0"}


async def test_a_list_without_paging_says_what_is_missing(shell: ApiShell) -> None:
    """A list that is incomplete without documented paging says how many records are missing."""
    async with scripted(envelope([SENDER], total=2)) as konvox:
        outcome = await shell.api("senders", "list", konvox=konvox)
    assert outcome.err == "konvox-hooks: 1 of 2 sender identities\n"


async def test_all_contacts_are_fetched_page_by_page(shell: ApiShell) -> None:
    """`--all` fetches pages of 200 and shows each contact once, in one document."""
    contacts = [{"id": f"clp{number}", "email": f"{number}@example.com"} for number in range(201)]
    async with scripted(envelope(contacts[:200], total=201), envelope(contacts[200:], total=201)) as konvox:
        outcome = await shell.api("contacts", "list", "--all", "--status", "active", "--json", konvox=konvox)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert orjson.loads(outcome.out) == contacts
    assert [asked.query["offset"] for asked in konvox.asked] == ["0", "200"]
    assert {asked.query["status"] for asked in konvox.asked} == {"active"}


async def test_what_konvox_says_cannot_speak_to_the_terminal(shell: ApiShell) -> None:
    """Control characters in a record and in an error are replaced."""
    contact = CONTACT | {"title": "\x1b[2J\nclp2\tmallory"}
    async with scripted(envelope([contact]), failure(404, "\x1b[2Jgone\nkonvox-hooks: done")) as konvox:
        listed = await shell.api("contacts", "list", konvox=konvox)
        refused = await shell.api("campaigns", "get", "clc1", konvox=konvox)
    assert len(listed.rows) == 2
    assert "\x1b" not in listed.out + refused.err
    assert refused.err.count("\n") == 1


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
        (envelope([{"id": "clc1"}]), ["campaigns", "list"], "GET /api/campaigns", "status 200: not a Campaign"),
    ],
)
async def test_a_failure_is_one_line(shell: ApiShell, reply: Any, arguments: list[str], call: str, words: str) -> None:
    """A failure is one line on stderr with status, method, path and Konvox's message; the exit code is 1."""
    async with scripted(reply) as konvox:
        outcome = await shell.api(*arguments, konvox=konvox)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"konvox-hooks: {call}: {words}")
    assert outcome.err.count("\n") == 1
    assert len(konvox.asked) == 1


async def test_a_call_that_is_safe_to_repeat_is_repeated(shell: ApiShell) -> None:
    """A call that is safe to repeat is retried, the log of the wait goes to stderr, and stdout has the result only."""
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
            "--url must be an https://",
        ),
        (["webhooks", "register", "--url", "-", "--events", "a.b"], "--url must be an https://"),
        (["webhooks", "register", "--url", URL, "--events", " , "], "--events must name at least one event"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_sent(shell: ApiShell, arguments: list[str], hint: str) -> None:
    """A wrong argument leads to exit code 2 and a message with the option's name, and nothing is sent."""
    async with scripted() as konvox:
        outcome = await shell.api(*arguments, konvox=konvox)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert hint in outcome.err
    assert TOKEN not in outcome.err
    assert konvox.asked == []


@pytest.mark.parametrize(("typed", "exit_code", "calls"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
async def test_a_deletion_asks_on_a_terminal(shell: ApiShell, typed: str, exit_code: int, calls: int) -> None:
    """The question before a deletion goes to stderr, and only a yes deletes."""
    shell.monkeypatch.setattr(sys, "stdin", Terminal(typed))
    async with scripted(json_reply({"success": True})) as konvox:
        outcome = await shell.api("campaigns", "delete", "clc1", konvox=konvox)
    assert outcome.exit_code == exit_code
    assert konvox.calls == [("DELETE", "/api/campaigns/clc1")] * calls
    assert "Delete campaign clc1 and its enrollments for good?" in outcome.err
    assert outcome.out == ("deleted clc1\n" if calls else "")


async def test_a_deletion_can_be_told_not_to_ask(shell: ApiShell) -> None:
    """`--yes` deletes without a question, and an unknown campaign is Konvox's 404."""
    async with scripted(envelope({"success": True}), failure(404, "not found")) as konvox:
        done = await shell.api("campaigns", "delete", "clc1", "--yes", konvox=konvox)
        gone = await shell.api("campaigns", "delete", "clc1", "--yes", konvox=konvox)
    assert (done.exit_code, done.out, done.err) == (0, "deleted clc1\n", "")
    assert (gone.exit_code, gone.out) == (1, "")
    assert gone.err == "konvox-hooks: DELETE /api/campaigns/clc1: status 404: not found\n"
