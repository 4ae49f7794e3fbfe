"""Tests of `konvox-hooks trigger` with a real receiver."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.admission import AdmissionPolicy, to_redis
from konvox_hooks.cli import run
from receiver.app import create_app
from receiver.counters import Counters
from receiver.group_commit import GroupCommit
from receiver.verification import AccountPolicy, Verifier
from tests.support.store import RedisClient

TOKEN, OLD_TOKEN = "first-token-0123456789", "second-token-0123456789"
SECRET = "the-signing-secret"

ServerFor = Callable[[web.Application], Awaitable[TestServer]]
Start = Callable[..., Awaitable[TestServer]]


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, where only two tokens are configured."""
    for name in [name for name in os.environ if name.startswith("KONVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KONVOX_HOOK_TOKENS", f"{TOKEN},{OLD_TOKEN}")


@pytest.fixture
def receiver(aiohttp_server: ServerFor, server: RedisClient, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a receiver at the port that is configured for the command."""

    async def start(**fields: Any) -> TestServer:
        """Start a receiver with this account policy."""
        group_commit = GroupCommit(to_redis(server, AdmissionPolicy()))
        started = await aiohttp_server(create_app(Verifier([AccountPolicy(**fields)]), group_commit, Counters()))
        monkeypatch.setenv("KONVOX_PORT", str(started.port))
        return started

    return start


@pytest.fixture
def trigger(capsys: pytest.CaptureFixture[str]) -> Callable[..., Awaitable[tuple[int, list[list[str]], str]]]:
    """Runs the command; returns exit code, rows on stdout without their header, and stderr."""

    async def run_it(*arguments: str) -> tuple[int, list[list[str]], str]:
        """Run the command with these arguments."""
        exit_code = await asyncio.to_thread(run, ["trigger", *arguments])
        captured = capsys.readouterr()
        for secret in (TOKEN, OLD_TOKEN, SECRET):
            assert secret not in captured.out + captured.err
        return exit_code, [line.split("\t") for line in captured.out.splitlines()[1:]], captured.err

    return run_it


Trigger = Callable[..., Awaitable[tuple[int, list[list[str]], str]]]


async def test_an_event_is_accepted(receiver: Start, trigger: Trigger) -> None:
    """An event is accepted with the first token, and each call makes a new event."""
    await receiver(tokens=[TOKEN])
    exit_code, [[status, result, event_id]], err = await trigger("contact.replied")
    assert (exit_code, status, result, err) == (0, "200", "accepted", "")
    assert event_id.startswith("evt_")
    _, [[_, result, other_id]], _ = await trigger("contact.replied")
    assert result == "accepted"
    assert other_id != event_id


async def test_copies_are_duplicates(receiver: Start, trigger: Trigger) -> None:
    """A further copy of a body is answered with 200 and the same id."""
    await receiver(tokens=[TOKEN])
    exit_code, rows, _ = await trigger("enrollment.created", "--copies", "3")
    assert exit_code == 0
    assert [row[:2] for row in rows] == [["200", "accepted"], ["200", "duplicate"], ["200", "duplicate"]]
    assert len({row[2] for row in rows}) == 1


async def test_an_event_is_signed_if_configured(
    receiver: Start, trigger: Trigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token, the path without a token is used, with the first secret and the configured header."""
    await receiver(scheme="hmac-sha256", signing_secrets=[SECRET], signature_header="X-Signed")
    monkeypatch.setenv("KONVOX_HOOK_TOKENS", "")
    monkeypatch.setenv("KONVOX_SIGNATURE", "hmac-sha256")
    monkeypatch.setenv("KONVOX_SIGNATURE_HEADER", "X-Signed")
    monkeypatch.setenv("KONVOX_SIGNING_SECRETS", f"{SECRET},another-secret-0123456789")
    exit_code, [[status, *_]], _ = await trigger("contact.replied")
    assert (exit_code, status) == (0, "200")
    monkeypatch.setenv("KONVOX_SIGNING_SECRETS", "another-secret-0123456789")
    exit_code, [[status, result, _]], err = await trigger("contact.replied")
    assert (exit_code, status) == (1, "401")
    assert "signature refused" in result
    assert "1 of 1 not accepted" in err


async def test_a_wrong_token_is_reported(receiver: Start, trigger: Trigger) -> None:
    """A wrong token leads to 404 and exit code 1, and the token is masked."""
    await receiver(tokens=[OLD_TOKEN])
    exit_code, rows, err = await trigger("contact.replied", "--copies", "2")
    assert exit_code == 1
    assert [row[:2] for row in rows] == [["404", "not found"]] * 2
    assert "2 of 2 not accepted by http://127.0.0.1:" in err
    assert "/hooks/konvox/••••" in err


@pytest.mark.parametrize("path", ["", "/", f"/hooks/konvox/{OLD_TOKEN}"])
async def test_another_receiver_can_be_named(
    receiver: Start, trigger: Trigger, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Path and token are added to an origin, and a full URL is used unchanged."""
    started = await receiver(tokens=[TOKEN, OLD_TOKEN])
    monkeypatch.setenv("KONVOX_PORT", "0")
    exit_code, [[status, *_]], _ = await trigger("contact.replied", "--url", f"http://127.0.0.1:{started.port}{path}")
    assert (exit_code, status) == (0, "200")


async def test_the_data_can_be_given(trigger: Trigger, aiohttp_server: ServerFor) -> None:
    """`--data` replaces the sample's data."""
    bodies: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        """Record the request, and answer with JSON that is not ours."""
        bodies.append(await request.json())
        return web.Response(text="[not ours]")

    app = web.Application()
    app.router.add_post("/elsewhere", take)
    url = str((await aiohttp_server(app)).make_url("/elsewhere"))
    exit_code, [[_, result, event_id]], _ = await trigger("a.b", "--data", '{"contactId": "c1"}', "--url", url)
    assert (exit_code, result) == (0, "OK")
    assert event_id.startswith("evt_")
    assert [(body["event"], body["data"]) for body in bodies] == [("a.b", {"contactId": "c1"})]


async def test_no_receiver_is_reported(trigger: Trigger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a receiver the message says where it was looked for and how to start one, and the exit code is 1."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, and nobody answers
        monkeypatch.setenv("KONVOX_PORT", str(bound.getsockname()[1]))
        exit_code, rows, err = await trigger("contact.replied")
    assert (exit_code, rows) == (1, [])
    assert "cannot connect" in err
    assert "konvox-hooks serve" in err


async def test_a_receiver_that_hangs_up_is_reported(trigger: Trigger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken connection leads to exit code 1, without a traceback."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Close the connection without an answer."""
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    monkeypatch.setenv("KONVOX_PORT", str(server.sockets[0].getsockname()[1]))
    exit_code, _, err = await trigger("contact.replied")
    assert exit_code == 1
    assert "the request failed" in err
    server.close()
    await server.wait_closed()


async def test_a_listener_on_every_address_is_reached(
    receiver: Start, trigger: Trigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that listens on 0.0.0.0 is reached at 127.0.0.1."""
    await receiver(tokens=[TOKEN])
    monkeypatch.setenv("KONVOX_HOST", "0.0.0.0")
    exit_code, _, _ = await trigger("contact.replied")
    assert exit_code == 0


@pytest.mark.parametrize(
    ("variables", "arguments", "hint"),
    [
        ({}, ("contact.replied", "--data", "{"), "--data is not JSON"),
        ({}, ("contact.replied", "--data", "[]"), "must be a JSON object"),
        ({}, ("contact.replied", "--copies", "0"), "--copies"),
        ({}, ("contact.replied", "--url", "ftp://a.example"), "--url"),
        ({}, ("contact.replied", "--url", "http://[::1"), "--url"),
        ({}, (" ",), "name is empty"),
        ({}, (), "EVENT"),
        ({"KONVOX_PORT": "0"}, ("contact.replied",), "KONVOX_PORT is 0"),
        ({"KONVOX_HOOK_TOKENS": ""}, ("contact.replied",), "KONVOX_HOOK_TOKENS"),
    ],
)
async def test_what_is_wrong_is_reported(
    trigger: Trigger,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    arguments: tuple[str, ...],
    hint: str,
) -> None:
    """A wrong option leads to exit code 2 and a hint."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exit_code, rows, err = await trigger(*arguments)
    assert (exit_code, rows) == (2, [])
    assert hint in err


async def test_one_endpoint_of_several_gets_it(
    trigger: Trigger, receiver: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--account` chooses the token or signature of one account, and without it nothing is sent."""
    Path("accounts.toml").write_text(
        f'[acme]\nhook_tokens = ["{TOKEN}"]\n[globex]\nsignature = "hmac-sha256"\nsigning_secrets = ["{SECRET}"]\n'
    )
    monkeypatch.delenv("KONVOX_HOOK_TOKENS")
    monkeypatch.setenv("KONVOX_ACCOUNTS_FILE", "accounts.toml")
    for name, policy in (
        ("acme", {"tokens": (TOKEN,)}),
        ("globex", {"scheme": "hmac-sha256", "signing_secrets": (SECRET,)}),
    ):
        await receiver(account=name, **policy)
        exit_code, [[status, result, _]], _ = await trigger("contact.replied", "--account", name)
        assert (exit_code, status, result) == (0, "200", "accepted")
    exit_code, rows, said = await trigger("contact.replied")
    assert (exit_code, rows) == (2, [])
    assert "say which one with --account (acme, globex)" in said
    exit_code, _, said = await trigger("contact.replied", "--account", "initech")
    assert exit_code == 2
    assert "there is no such account (there are acme, globex)" in said
