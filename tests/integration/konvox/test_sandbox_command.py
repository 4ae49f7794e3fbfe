"""Tests of `konvox-hooks sandbox` as a process: its output, its work, and its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from konvox.client import KonvoxClient
from tests.support.processes import OurProcess

FULL, READ, SECRET = "kvx_live_full_key", "kvx_live_read_key", "the-signing-secret"
KEYS = ("--full-key", FULL, "--read-key", READ)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_asked_to_stop(tmp_path: Path, stop: signal.Signals) -> None:
    """The sandbox prints one line of JSON, delivers with retries and signature, exits with 0, and shows no secret."""
    statuses = [500, 200]
    signatures: list[str] = []

    async def take(request: web.Request) -> web.Response:
        """Answer with the next status."""
        signatures.append(request.headers["X-Konvox-Signature"])
        return web.Response(status=statuses.pop(0))

    app = web.Application()
    app.router.add_post("/hooks/{token}", take)
    arguments = ("sandbox", "--port", "0", *KEYS, "--retry-base", "0.01", "--signing-secret", SECRET)
    async with (
        TestServer(app) as receiver,
        await OurProcess.start(*arguments, env={}, cwd=tmp_path) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        urls = await sandbox.said(lambda line: "sandbox" in line, "line about its URL")
        assert urls.keys() == {"sandbox", "fire", "deliveries"}
        fields = {"url": str(receiver.make_url("/hooks/token-0123456789")), "events": ["contact.replied"]}
        key = {"X-API-Key": FULL}
        async with session.post(f"{urls['sandbox']}/api/webhooks", json=fields, headers=key) as response:
            assert response.status == 201
        async with session.post(urls["fire"], json={"event": "contact.replied", "wait": True}, headers=key) as response:
            [outcome] = (await response.json())["data"]["outcomes"]
        assert [attempt["status"] for attempt in outcome["attempts"]] == [500, 200]
        async with session.get(urls["deliveries"], headers=key) as response:
            assert (await response.json())["data"] == outcome["attempts"]
        sandbox.process.send_signal(stop)
        assert await sandbox.ended() == 0
        assert orjson.loads(sandbox.stdout) == urls
        assert "sandbox.delivery" in sandbox.stderr
        for secret in (FULL, READ, SECRET, "token-0123456789"):
            assert secret not in sandbox.stdout + sandbox.stderr
    assert len(set(signatures)) == 1


async def test_it_stops_at_once_with_deliveries_under_way(tmp_path: Path) -> None:
    """A receiver that hangs, and a caller who waits for it, do not delay the end."""
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        """Never answer."""
        arrived.set()
        return await asyncio.Future()

    app = web.Application()
    app.router.add_post("/", hang)
    async with (
        TestServer(app) as receiver,
        await OurProcess.start("sandbox", "--port", "0", *KEYS, env={}, cwd=tmp_path) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        urls = await sandbox.said(lambda line: "sandbox" in line, "line about its URL")
        fields = {"url": str(receiver.make_url("/")), "events": ["contact.replied"]}
        key = {"X-API-Key": FULL}
        async with session.post(f"{urls['sandbox']}/api/webhooks", json=fields, headers=key):
            pass
        order = {"event": "contact.replied", "wait": True}
        waiting = asyncio.create_task(session.post(urls["fire"], json=order, headers=key))
        await asyncio.wait_for(arrived.wait(), 10)
        assert await asyncio.wait_for(sandbox.terminate(), 5) == 0
        async with await waiting as response:
            assert (await response.json())["data"]["outcomes"][0]["outcome"] == "stopped"


async def test_a_port_that_is_taken_is_reported(tmp_path: Path) -> None:
    """A port that is taken leads to exit code 2 and a hint."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with await OurProcess.start("sandbox", "--port", port, env={}, cwd=tmp_path) as sandbox:
            assert await sandbox.ended() == 2
    assert sandbox.stdout == ""
    assert "choose another --port" in sandbox.stderr
    assert "Traceback" not in sandbox.stderr


async def test_one_key_for_both_scopes_is_refused(tmp_path: Path) -> None:
    """One key for both scopes leads to exit code 2, and is not repeated."""
    arguments = ("sandbox", "--full-key", FULL, "--read-key", FULL)
    async with await OurProcess.start(*arguments, env={}, cwd=tmp_path) as sandbox:
        assert await sandbox.ended() == 2
    assert "give them different texts" in sandbox.stderr
    assert FULL not in sandbox.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rate", "5"), "choose one with --scenario"),
        (("--seed", "5"), "choose one with --scenario"),
        (("--signing-scheme", "standard-webhooks", "--signing-secret", "whsec_!"), "cannot be used with the scheme"),
        (("--state", "nowhere/state.db"), "cannot keep the sandbox's state"),
    ],
)
async def test_options_that_do_not_fit_are_reported(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Options that exclude each other lead to exit code 2 and a message."""
    async with await OurProcess.start("sandbox", "--port", "0", *arguments, env={}, cwd=tmp_path) as sandbox:
        assert await sandbox.ended() == 2
    assert message in sandbox.stderr
    assert "Traceback" not in sandbox.stderr


async def test_a_simulation_with_every_option(tmp_path: Path) -> None:
    """With every option set, an active campaign enrolls its contacts, and some reply, signed as set."""
    replied: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()

    async def take(request: web.Request) -> web.Response:
        """Wait for the first reply."""
        if (await request.json())["event"] == "contact.replied" and not replied.done():
            replied.set_result(request)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    arguments = (
        *("sandbox", "--port", "0", *KEYS, "--state", "state.db", "--scenario", "steady", "--rate", "500"),
        *("--seed", "1", "--signing-scheme", "timestamped", "--signing-secret", SECRET),
        *("--signature-header", "X-Sign", "--secret-in-response", "signingSecret"),
    )
    async with (
        TestServer(app) as receiver,
        await OurProcess.start(*arguments, env={}, cwd=tmp_path) as sandbox,
    ):
        url = (await sandbox.said(lambda line: "sandbox" in line, "line about its URL"))["sandbox"]
        async with KonvoxClient(url, FULL) as konvox:
            hook = str(receiver.make_url("/"))
            webhook = await konvox.webhooks.register(url=hook, events=["contact.replied", "enrollment.created"])
            assert webhook.signing_secret == SECRET
            for number in range(20):
                await konvox.contacts.create(email=f"person{number}@example.com")
            campaign = await konvox.campaigns.create(name="Spring", channel="linkedin")
            await konvox.campaigns.update(campaign.id, status="active")
            request = await asyncio.wait_for(replied, 10)
        assert request.headers["X-Sign"].startswith("t=")
        assert await sandbox.terminate() == 0
    assert SECRET not in sandbox.stdout + sandbox.stderr
