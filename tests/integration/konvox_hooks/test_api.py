"""`konvox-hooks api` over a real socket: what is asked of Konvox, what is shown, and with which exit code."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.records import Job, Record
from handlers.loader import LoadedHandlers
from handlers.once import InMemoryOnce
from handlers.registry import Handler, Registry
from konvox.samples import sample_body
from konvox.sandbox import SandboxConfig, create_sandbox
from konvox_hooks.cli import run
from konvox_hooks.commands import api
from konvox_hooks.config.load import load_settings
from konvox_hooks.service.worker import konvox_access
from tests.integration.konvox.scripted_konvox import KEY, ScriptedKonvox, envelope, failure, json_reply, scripted
from worker.surroundings import surroundings

READ_KEY, OTHER_KEY = "kvx_live_read_key", "kvx_live_other_key"
TOKEN = "s3cret-token-0123456789"
URL = f"https://hooks.example.com/hooks/konvox/{TOKEN}"
MASKED = "https://hooks.example.com/hooks/konvox/••••"

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
WEBHOOK = {"id": "clw1", "url": URL, "events": ["contact.replied"], "active": False}

CREATE_CONTACT = ["contacts", "create", "--email", "ada@example.com"]
CREATE_SENDER = ["senders", "create", "--local-part", "ada"]

ServerFor = Callable[[web.Application], Awaitable[TestServer]]


@dataclass
class Outcome:
    """How a command ended."""

    exit_code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The table on stdout, its header included."""
        return [line.split("\t") for line in self.out.splitlines()]


class Terminal(io.StringIO):
    """A stdin that says it is a terminal, and on which somebody has typed."""

    def isatty(self) -> bool:
        """True, unlike its parent's."""
        return True


@dataclass
class Shell:
    """Runs `konvox-hooks` in this process, beside the Konvox that this process serves."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def configure(self, **variables: str) -> None:
        """Set KONVOX_ variables."""
        for name, value in variables.items():
            self.monkeypatch.setenv(f"KONVOX_{name}", value)

    async def api(self, *arguments: str, konvox: ScriptedKonvox | None = None) -> Outcome:
        """Run `konvox-hooks api` to its end. No key is ever on its output."""
        if konvox is not None:
            self.configure(API_URL=konvox.url, API_KEY=KEY)
        self.capsys.readouterr()
        exit_code = await asyncio.to_thread(run, ["api", *arguments])
        captured = self.capsys.readouterr()
        assert KEY not in captured.out + captured.err
        assert READ_KEY not in captured.out + captured.err
        assert "Traceback" not in captured.err
        return Outcome(exit_code, captured.out, captured.err)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder, with nothing configured; the logging that a command sets up is undone."""
    for name in [name for name in os.environ if name.startswith("KONVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Shell(capsys, monkeypatch)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def sandbox_for(shell: Shell, aiohttp_server: ServerFor) -> Callable[..., Awaitable[Shell]]:
    """Makes the shell one that is configured for a fresh sandbox."""

    async def start(**fields: Any) -> Shell:
        """Start a sandbox, and configure the command for it."""
        server = await aiohttp_server(create_sandbox(SandboxConfig(full_key=KEY, read_key=READ_KEY, **fields)))
        shell.configure(API_URL=str(server.make_url("/")), API_KEY=KEY)
        return shell

    return start


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
    shell: Shell, arguments: list[str], asked: tuple[str, dict[str, str]], record: dict[str, Any], rows: list[list[str]]
) -> None:
    """Piped, it is tab-separated; with `--json` it is the API's records, unknown fields and large numbers included."""
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
    shell: Shell, arguments: list[str], asked: tuple[str, str, Any], record: dict[str, Any]
) -> None:
    """Each option reaches its field; what came back is shown as fields and values, or as the API sent it."""
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
    shell: Shell, total: int | None, options: list[str], note: str
) -> None:
    """On stderr, below a table always, and where something is left out always; the page asked for is Konvox's own."""
    async with scripted(envelope([CONTACT], total=total)) as konvox:
        outcome = await shell.api("contacts", "list", *options, konvox=konvox)
    assert (outcome.exit_code, outcome.err) == (0, note)
    assert konvox.asked[0].query == {"limit": "50", "offset": "0"}


async def test_a_list_without_paging_says_what_is_missing(shell: Shell) -> None:
    """Konvox documents no way to get the rest of it."""
    async with scripted(envelope([SENDER], total=2)) as konvox:
        outcome = await shell.api("senders", "list", konvox=konvox)
    assert outcome.err == "konvox-hooks: 1 of 2 sender identities\n"


async def test_all_contacts_are_fetched_page_by_page(shell: Shell) -> None:
    """In pages of 200, each contact once, in one document."""
    contacts = [{"id": f"clp{number}", "email": f"{number}@example.com"} for number in range(201)]
    async with scripted(envelope(contacts[:200], total=201), envelope(contacts[200:], total=201)) as konvox:
        outcome = await shell.api("contacts", "list", "--all", "--status", "active", "--json", konvox=konvox)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert orjson.loads(outcome.out) == contacts
    assert [asked.query["offset"] for asked in konvox.asked] == ["0", "200"]
    assert {asked.query["status"] for asked in konvox.asked} == {"active"}


async def test_what_konvox_says_cannot_speak_to_the_terminal(shell: Shell) -> None:
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
async def test_a_failure_is_one_line(shell: Shell, reply: Any, arguments: list[str], call: str, words: str) -> None:
    """Status, method, path and Konvox's words on stderr; exit code 1, nothing on stdout."""
    async with scripted(reply) as konvox:
        outcome = await shell.api(*arguments, konvox=konvox)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"konvox-hooks: {call}: {words}")
    assert outcome.err.count("\n") == 1
    assert len(konvox.asked) == 1


async def test_a_call_that_is_safe_to_repeat_is_repeated(shell: Shell) -> None:
    """The wait is logged on stderr; the result is alone on stdout."""
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
async def test_what_is_wrong_is_said_before_anything_is_sent(shell: Shell, arguments: list[str], hint: str) -> None:
    """Exit code 2, the option's own name, nothing on stdout, and no request."""
    async with scripted() as konvox:
        outcome = await shell.api(*arguments, konvox=konvox)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert hint in outcome.err
    assert TOKEN not in outcome.err
    assert konvox.asked == []


@pytest.mark.parametrize(("given", "missing"), [({}, ["API_URL", "API_KEY"]), ({"API_KEY": KEY}, ["API_URL"])])
async def test_missing_settings_are_named_with_an_example(
    shell: Shell, given: dict[str, str], missing: list[str]
) -> None:
    """All of them at once, exit code 2."""
    shell.configure(**given)
    outcome = await shell.api("campaigns", "list")
    assert (outcome.exit_code, outcome.out) == (2, "")
    lines = outcome.err.removeprefix("konvox-hooks: ").splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"KONVOX_{name}" for name in missing]
    assert all(f"(example: KONVOX_{name}=" in line for name, line in zip(missing, lines, strict=True))


@pytest.mark.parametrize(("typed", "exit_code", "calls"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
async def test_a_deletion_asks_on_a_terminal(shell: Shell, typed: str, exit_code: int, calls: int) -> None:
    """The question is on stderr; only a yes deletes."""
    shell.monkeypatch.setattr(sys, "stdin", Terminal(typed))
    async with scripted(json_reply({"success": True})) as konvox:
        outcome = await shell.api("campaigns", "delete", "clc1", konvox=konvox)
    assert outcome.exit_code == exit_code
    assert konvox.calls == [("DELETE", "/api/campaigns/clc1")] * calls
    assert "Delete campaign clc1 and its enrollments for good?" in outcome.err
    assert outcome.out == ("deleted clc1\n" if calls else "")


async def test_a_deletion_can_be_told_not_to_ask(shell: Shell) -> None:
    """For scripts; a campaign that is not there is Konvox's 404."""
    async with scripted(envelope({"success": True}), failure(404, "not found")) as konvox:
        done = await shell.api("campaigns", "delete", "clc1", "--yes", konvox=konvox)
        gone = await shell.api("campaigns", "delete", "clc1", "--yes", konvox=konvox)
    assert (done.exit_code, done.out, done.err) == (0, "deleted clc1\n", "")
    assert (gone.exit_code, gone.out) == (1, "")
    assert gone.err == "konvox-hooks: DELETE /api/campaigns/clc1: status 404: not found\n"


async def test_webhooks_of_the_sandbox_are_listed_without_their_tokens(
    sandbox_for: Callable[..., Awaitable[Shell]],
) -> None:
    """Registered, and then shown masked in the table and in the JSON unless the URLs are asked for."""
    shell = await sandbox_for()
    registered = await shell.api("webhooks", "register", "--url", URL, "--events", "contact.replied", "--json")
    assert registered.exit_code == 0
    webhook = orjson.loads(registered.out)
    assert (webhook["url"], webhook["events"], webhook["active"]) == (MASKED, ["contact.replied"], True)
    table = await shell.api("webhooks", "list")
    assert table.rows[1:] == [[webhook["id"], MASKED, "contact.replied", "yes", webhook["createdAt"]]]
    assert table.err == "konvox-hooks: 1 of 1 webhooks\n"
    assert orjson.loads((await shell.api("webhooks", "list", "--json")).out) == [webhook]
    whole = await shell.api("webhooks", "list", "--json", "--show-urls")
    assert orjson.loads(whole.out) == [webhook | {"url": URL}]
    assert TOKEN not in registered.out + table.out


async def test_a_url_can_come_from_stdin(sandbox_for: Callable[..., Awaitable[Shell]]) -> None:
    """So that the list of processes does not show the token."""
    shell = await sandbox_for()
    shell.monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{URL}\n".encode())))
    assert (await shell.api("webhooks", "register", "--url", "-", "--events", "a.b")).exit_code == 0
    assert URL in (await shell.api("webhooks", "list", "--show-urls")).out


async def test_a_signing_secret_is_shown_only_on_request(sandbox_for: Callable[..., Awaitable[Shell]]) -> None:
    """Without the request, that there is one is said; no list shows it."""
    shell = await sandbox_for(signing_secret="the-signing-secret")
    register = ("webhooks", "register", "--url", URL, "--events", "a.b")
    hidden, listed = await shell.api(*register), await shell.api("webhooks", "list", "--json", "--show-urls")
    assert "the-signing-secret" not in hidden.out + hidden.err + listed.out
    assert "--show-secret" in hidden.err
    table, document = await shell.api(*register, "--show-secret"), await shell.api(*register, "--show-secret", "--json")
    assert table.rows[-1] == ["secret", "the-signing-secret"]
    assert orjson.loads(document.out)["secret"] == "the-signing-secret"
    assert "--show-secret" not in table.err + document.err


async def test_a_read_key_may_list_and_not_register(sandbox_for: Callable[..., Awaitable[Shell]]) -> None:
    """403 is exit code 1, in Konvox's words."""
    shell = await sandbox_for()
    shell.configure(API_KEY=READ_KEY)
    assert (await shell.api("webhooks", "list")).exit_code == 0
    refused = await shell.api("webhooks", "register", "--url", URL, "--events", "a.b")
    assert (refused.exit_code, refused.out) == (1, "")
    assert refused.err.startswith("konvox-hooks: POST /api/webhooks: status 403: ")


async def test_a_refusal_that_repeats_the_url_is_masked(shell: Shell) -> None:
    """Konvox may say what it wants; the token stays out of sight."""
    async with scripted(failure(409, f"{URL} is registered already")) as konvox:
        outcome = await shell.api("webhooks", "register", "--url", URL, "--events", "a.b", konvox=konvox)
    assert outcome.exit_code == 1
    assert outcome.err == f"konvox-hooks: POST /api/webhooks: status 409: {MASKED} is registered already\n"


def put_right(shell: Shell) -> None:
    """Configure everything that is inferred differently."""
    shell.configure(API_AUTH="x-api-key", API_PATHS="webhooks=/v2/hooks", API_SECRET_FIELDS="webhookKey")


async def test_what_is_inferred_can_be_put_right(shell: Shell) -> None:
    """The header of the key, the path, and the field of the secret, for `api`."""
    put_right(shell)
    reply = envelope(WEBHOOK | {"webhookKey": "the-signing-secret"})
    async with scripted(reply) as konvox:
        outcome = await shell.api(
            "webhooks", "register", "--url", URL, "--events", "a.b", "--show-secret", konvox=konvox
        )
    [asked] = konvox.asked
    assert (asked.path, asked.headers["X-API-Key"], "Authorization" in asked.headers) == ("/v2/hooks", KEY, False)
    assert outcome.rows[-1] == ["secret", "the-signing-secret"]


async def test_register_uses_the_same_settings(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows the path that it would use."""
    put_right(shell)
    register = ["register", "--no-check", "--events", "a.b", "--json"]
    async with scripted(envelope([]), envelope([]), envelope(WEBHOOK | {"webhookKey": "the-secret"})) as konvox:
        shell.configure(API_URL=konvox.url, API_KEY=KEY, PUBLIC_URL="https://hooks.example.com", HOOK_TOKENS=TOKEN)
        assert await asyncio.to_thread(run, [*register, "--dry-run"]) == 0
        planned = orjson.loads(capsys.readouterr().out)
        assert await asyncio.to_thread(run, register) == 0
        done = orjson.loads(capsys.readouterr().out)
    assert konvox.calls == [("GET", "/v2/hooks"), ("GET", "/v2/hooks"), ("POST", "/v2/hooks")]
    assert {asked.headers["X-API-Key"] for asked in konvox.asked} == {KEY}
    assert planned["request"]["path"] == "/v2/hooks"
    assert done["environment"] == {"KONVOX_SIGNING_SECRETS": "the-secret"}


async def test_handlers_use_the_same_settings(shell: Shell) -> None:
    """`ctx.konvox` is the client that the settings describe."""
    put_right(shell)
    job = Job.first(Record.capture(sample_body("contact.replied"), received_at_ms=0))
    handler = Handler("shop.handle", print, ("*",), "shop", "shop.py:1", is_async=False)
    async with scripted(envelope([WEBHOOK])) as konvox:
        shell.configure(API_URL=konvox.url, API_KEY=KEY)
        access = konvox_access(load_settings())
        async with surroundings(LoadedHandlers(Registry(), {}), access, lambda *_: InMemoryOnce()) as make_context:
            context = make_context(job, handler)
            assert [webhook.id async for webhook in context.konvox.webhooks.list()] == ["clw1"]
    assert konvox.calls == [("GET", "/v2/hooks")]
    assert konvox.asked[0].headers["X-API-Key"] == KEY


async def test_what_an_account_lacks_is_said(shell: Shell) -> None:
    """The key in its own table, since it is inherited from nowhere; the URL in its variable, as anywhere."""
    Path("accounts.toml").write_text('[acme]\nhook_tokens = ["a-token-only-acme-knows"]\n')
    shell.configure(ACCOUNTS_FILE="accounts.toml", API_KEY=KEY)
    refused = await shell.api("contacts", "list", "--account", "acme")
    assert refused.exit_code == 2
    assert "KONVOX_API_URL: not set" in refused.err
    assert "[acme] api_key: not set in the accounts file" in refused.err


async def test_each_command_works_for_one_of_several_accounts(shell: Shell, aiohttp_server: ServerFor) -> None:
    """`--account` picks the key and, where it has its own, the API; without it nothing is called."""
    urls = [
        str((await aiohttp_server(create_sandbox(SandboxConfig(full_key=key, read_key=READ_KEY)))).make_url("/"))
        for key in (KEY, OTHER_KEY)
    ]
    Path("accounts.toml").write_text(
        f'[acme]\nhook_tokens = ["a-token-only-acme-knows"]\napi_key = "{KEY}"\n'
        f'[globex]\nhook_tokens = ["a-token-only-globex-knows"]\napi_key = "{OTHER_KEY}"\napi_url = "{urls[1]}"\n'
    )
    shell.configure(API_URL=urls[0], ACCOUNTS_FILE="accounts.toml")
    for name in ("acme", "globex"):
        assert (await shell.api("contacts", "create", "--email", f"{name}@a.b", "--account", name)).exit_code == 0
        listed = await shell.api("contacts", "list", "--json", "--account", name)
        assert [contact["email"] for contact in orjson.loads(listed.out)] == [f"{name}@a.b"]
    nameless = await shell.api("contacts", "list")
    assert (nameless.exit_code, nameless.out) == (2, "")
    assert "say which one with --account (acme, globex)" in nameless.err


def test_every_command_takes_an_endpoint() -> None:
    """No command of `api` is left out."""
    commands = [leaf for group in api.command.commands.values() for leaf in group.commands.values()]  # type: ignore[attr-defined]
    assert len(commands) == 13
    assert all("--account" in [name for option in leaf.params for name in option.opts] for leaf in commands)
