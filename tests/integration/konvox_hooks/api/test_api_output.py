"""What `konvox-hooks api` asks of Konvox and shows: tables, JSON, totals and pages."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from tests.integration.konvox.scripted_konvox import envelope, failure, scripted
from tests.support.api import (
    CAMPAIGN,
    CONNECTION,
    CONTACT,
    SENDER,
    URL,
    WEBHOOK,
    ApiShell,
)

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
    """A piped table is tab-separated, and `--json` gives the API's records, with unknown fields and large numbers."""
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
    """Each option reaches its field, and the answer is shown as fields and values, or as the API sent it."""
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
async def test_the_total_is_apart_from_the_result(
    shell: ApiShell, total: int | None, options: list[str], note: str
) -> None:
    """The total is on stderr, always below a table, with JSON if records are left out; the page is Konvox's default."""
    async with scripted(envelope([CONTACT], total=total)) as konvox:
        outcome = await shell.api("contacts", "list", *options, konvox=konvox)
    assert (outcome.exit_code, outcome.err) == (0, note)
    assert konvox.asked[0].query == {"limit": "50", "offset": "0"}


async def test_a_list_without_paging_says_what_is_missing(shell: ApiShell) -> None:
    """Where Konvox documents no paging for a list, the total says that there is more."""
    async with scripted(envelope([SENDER], total=2)) as konvox:
        outcome = await shell.api("senders", "list", konvox=konvox)
    assert outcome.err == "konvox-hooks: 1 of 2 sender identities\n"


async def test_all_contacts_are_fetched_page_by_page(shell: ApiShell) -> None:
    """`--all` fetches pages of 200, and shows each contact once in one document."""
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


async def test_an_odd_record_hides_neither_the_others_nor_itself(shell: ApiShell) -> None:
    """A list with a null name, an unknown status, a missing id and no object at all shows a line for each."""
    odd = [CAMPAIGN, {"id": "clc2", "name": None, "status": "archived"}, {"name": "Idless"}, None, "clc5", CAMPAIGN]
    async with scripted(envelope(odd, total=6), envelope(odd, total=6)) as konvox:
        table = await shell.api("campaigns", "list", konvox=konvox)
        listed = await shell.api("campaigns", "list", "--json", konvox=konvox)
    assert (table.exit_code, listed.exit_code) == (0, 0)
    rows = [line.split("\t") for line in table.out.splitlines()[1:]]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("clc1", "Spring", "active"),
        ("clc2", "", "archived"),
        ("", "Idless", ""),
        ("", "", ""),
        ("clc5", "", ""),
        ("clc1", "Spring", "active"),
    ]
    shown = json.loads(listed.out)
    assert shown[1] == {"id": "clc2", "name": None, "status": "archived"}
    assert shown[2:5] == [{"name": "Idless", "id": ""}, {"id": ""}, {"id": "", "value": "clc5"}]
