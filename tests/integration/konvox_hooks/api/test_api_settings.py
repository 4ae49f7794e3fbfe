"""The settings and the accounts that `konvox-hooks api` uses, and others with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
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
from konvox_hooks.config.handlers import konvox_access
from konvox_hooks.config.load import load_settings
from tests.integration.konvox.scripted_konvox import KEY, envelope, scripted
from tests.support.api import (
    OTHER_KEY,
    READ_KEY,
    TOKEN,
    URL,
    WEBHOOK,
    ApiShell,
)
from worker.running.context import handler_contexts

ServerFor = Callable[[web.Application], Awaitable[TestServer]]


def put_right(shell: ApiShell) -> None:
    """Configure everything that is inferred differently."""
    shell.configure(API_AUTH="x-api-key", API_PATHS="webhooks=/v2/hooks", API_SECRET_FIELDS="webhookKey")


async def test_what_is_inferred_can_be_put_right(shell: ApiShell) -> None:
    """`api` uses the configured header of the key, path and field of the secret."""
    put_right(shell)
    reply = envelope(WEBHOOK | {"webhookKey": "the-signing-secret"})
    async with scripted(reply) as konvox:
        outcome = await shell.api(
            "webhooks", "register", "--url", URL, "--events", "a.b", "--show-secret", konvox=konvox
        )
    [asked] = konvox.asked
    assert (asked.path, asked.headers["X-API-Key"], "Authorization" in asked.headers) == ("/v2/hooks", KEY, False)
    assert outcome.rows[-1] == ["secret", "the-signing-secret"]


async def test_register_uses_the_same_settings(shell: ApiShell, capsys: pytest.CaptureFixture[str]) -> None:
    """`register` uses these settings too, and shows the path in a dry run."""
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


async def test_handlers_use_the_same_settings(shell: ApiShell) -> None:
    """`ctx.konvox` is the client that the settings describe."""
    put_right(shell)
    job = Job.first(Record.capture(sample_body("contact.replied"), received_at_ms=0))
    handler = Handler("shop.handle", print, ("*",), "shop", "shop.py:1", is_async=False)
    async with scripted(envelope([WEBHOOK])) as konvox:
        shell.configure(API_URL=konvox.url, API_KEY=KEY)
        access = konvox_access(load_settings())
        async with handler_contexts(LoadedHandlers(Registry(), {}), access, lambda *_: InMemoryOnce()) as make_context:
            context = make_context(job, handler)
            assert [webhook.id async for webhook in context.konvox.webhooks.list()] == ["clw1"]
    assert konvox.calls == [("GET", "/v2/hooks")]
    assert konvox.asked[0].headers["X-API-Key"] == KEY


async def test_what_an_account_lacks_is_said(shell: ApiShell) -> None:
    """A missing key is named in its own table, since it is not inherited, and a missing URL by its variable."""
    Path("accounts.toml").write_text('[acme]\nhook_tokens = ["a-token-only-acme-knows"]\n')
    shell.configure(ACCOUNTS_FILE="accounts.toml", API_KEY=KEY)
    refused = await shell.api("contacts", "list", "--account", "acme")
    assert refused.exit_code == 2
    assert "KONVOX_API_URL: not set" in refused.err
    assert "[acme] api_key: not set in the accounts file" in refused.err


async def test_each_command_works_for_one_of_several_accounts(shell: ApiShell, aiohttp_server: ServerFor) -> None:
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


def test_every_command_takes_an_account() -> None:
    """Every command of `api` takes `--account`."""
    commands = [leaf for group in api.command.commands.values() for leaf in group.commands.values()]  # type: ignore[attr-defined]
    assert len(commands) == 13
    assert all("--account" in [name for option in leaf.params for name in option.opts] for leaf in commands)
