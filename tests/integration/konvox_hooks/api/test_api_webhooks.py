"""`konvox-hooks api webhooks`: neither a token nor a signing secret is shown unless it is asked for."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable

import orjson

from tests.integration.konvox.scripted_konvox import failure, scripted
from tests.support.api import (
    MASKED,
    READ_KEY,
    TOKEN,
    URL,
    ApiShell,
)


async def test_webhooks_of_the_sandbox_are_listed_without_their_tokens(
    sandbox_for: Callable[..., Awaitable[ApiShell]],
) -> None:
    """A webhook is shown masked in the table and in the JSON, unless the URLs are asked for."""
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


async def test_a_url_can_come_from_stdin(sandbox_for: Callable[..., Awaitable[ApiShell]]) -> None:
    """A URL can be read from stdin, and then the list of processes does not show its token."""
    shell = await sandbox_for()
    shell.monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{URL}\n".encode())))
    assert (await shell.api("webhooks", "register", "--url", "-", "--events", "a.b")).exit_code == 0
    assert URL in (await shell.api("webhooks", "list", "--show-urls")).out


async def test_a_signing_secret_is_shown_only_on_request(sandbox_for: Callable[..., Awaitable[ApiShell]]) -> None:
    """A signing secret is shown on request only: otherwise the command says that there is one, and no list has it."""
    shell = await sandbox_for(signing_secret="the-signing-secret")
    register = ("webhooks", "register", "--url", URL, "--events", "a.b")
    hidden, listed = await shell.api(*register), await shell.api("webhooks", "list", "--json", "--show-urls")
    assert "the-signing-secret" not in hidden.out + hidden.err + listed.out
    assert "--show-secret" in hidden.err
    table, document = await shell.api(*register, "--show-secret"), await shell.api(*register, "--show-secret", "--json")
    assert table.rows[-1] == ["secret", "the-signing-secret"]
    assert orjson.loads(document.out)["secret"] == "the-signing-secret"
    assert "--show-secret" not in table.err + document.err


async def test_a_read_key_may_list_and_not_register(sandbox_for: Callable[..., Awaitable[ApiShell]]) -> None:
    """A read key can list webhooks; a registration with it is exit code 1, in Konvox's words."""
    shell = await sandbox_for()
    shell.configure(API_KEY=READ_KEY)
    assert (await shell.api("webhooks", "list")).exit_code == 0
    refused = await shell.api("webhooks", "register", "--url", URL, "--events", "a.b")
    assert (refused.exit_code, refused.out) == (1, "")
    assert refused.err.startswith("konvox-hooks: POST /api/webhooks: status 403: ")


async def test_a_refusal_that_repeats_the_url_is_masked(shell: ApiShell) -> None:
    """A token is masked in the words of Konvox too."""
    async with scripted(failure(409, f"{URL} is registered already")) as konvox:
        outcome = await shell.api("webhooks", "register", "--url", URL, "--events", "a.b", konvox=konvox)
    assert outcome.exit_code == 1
    assert outcome.err == f"konvox-hooks: POST /api/webhooks: status 409: {MASKED} is registered already\n"
