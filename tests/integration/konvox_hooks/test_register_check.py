"""Tests that `konvox-hooks register` first checks that the public URL reaches this receiver."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from receiver.challenge import CHALLENGE_HEADER, make_challenge
from tests.support.http import Answer, http_request
from tests.support.registration import OLD_TOKEN, SECRET, TOKEN, Shell

ORIGIN = "https://hooks.example.com"
REGISTER = ("--events", "contact.replied")


@asynccontextmanager
async def answering(
    shell: Shell, status: int, body: bytes = b"", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[web.Request]]:
    """A server at the public URL that is not ours; yields the requests that it got."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        """Answer every request alike."""
        asked.append(request)
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        shell.configure(PUBLIC_URL=f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}")
        yield asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"HOOK_TOKENS": TOKEN}, {"tokens": (OLD_TOKEN, TOKEN)}),
        ({"HOOK_TOKENS": TOKEN, "SIGNATURE": "hmac-sha256", "SIGNING_SECRETS": SECRET}, {}),
        (
            {"HOOK_TOKENS": None, "SIGNATURE": "hmac-sha256", "SIGNING_SECRETS": f"{SECRET},other-secret-0123456789"},
            {"tokens": (), "scheme": "hmac-sha256", "signing_secrets": ("more", SECRET)},
        ),
    ],
)
async def test_our_receiver_is_recognised(
    shell: Shell, redis_url: str, ours: dict[str, str | None], theirs: dict[str, object]
) -> None:
    """Our receiver proves itself by its token or, without one, by its signing secret, and admits nothing by that."""
    shell.configure(**ours)
    async with shell.receiver(redis_url, **theirs):
        outcome = await shell.register(*REGISTER, check=True)
    assert (outcome.exit_code, outcome.out.partition(":")[0]) == (0, "registered")
    assert len(await shell.known()) == 1


async def test_a_receiver_with_another_token_is_not_ours(shell: Shell, redis_url: str) -> None:
    """A receiver with another token leads to exit code 1 and a hint, and nothing is registered."""
    async with shell.receiver(redis_url, tokens=("another-token-0123456789",)):
        outcome = await shell.register(*REGISTER, check=True)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert "does not hold this token" in outcome.err
    assert "start the receiver again" in outcome.err
    assert await shell.known() == []


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (200, b"hello", "it is not this receiver (status 200)"),
        (404, b"nothing here", "it is not this receiver (status 404)"),
        (301, b"", "a redirect"),
        (502, b"bad gateway", "no receiver behind it"),
        (200, b"x" * 100_000, "it is not this receiver"),
    ],
)
async def test_others_are_not_ours(shell: Shell, status: int, body: bytes, fault: str) -> None:
    """Other servers are told apart; they do not learn the token, and nothing is registered."""
    async with answering(shell, status, body) as asked:
        outcome = await shell.register(*REGISTER, check=True)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert fault in outcome.err
    assert await shell.known() == []
    [request] = asked
    assert (request.method, request.path.rpartition("/")[0]) == ("POST", "/hooks/konvox")
    assert TOKEN not in f"{request.raw_path} {request.raw_headers!r}"


async def test_nobody_answers(shell: Shell, unused_tcp_port: int) -> None:
    """A closed port is a fault with a hint."""
    shell.configure(PUBLIC_URL=f"http://127.0.0.1:{unused_tcp_port}")
    outcome = await shell.register(*REGISTER, check=True)
    assert outcome.exit_code == 1
    assert "cannot connect" in outcome.err
    assert "start the receiver" in outcome.err
    assert "--no-check" in outcome.err


async def test_somebody_never_answers(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers is waited for no longer than Konvox would."""
    monkeypatch.setattr("konvox_hooks.registration.reachability.REACH_SECONDS", 0.2)
    released = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept the connection, and never answer."""
        await released.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        shell.configure(PUBLIC_URL=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        outcome = await shell.register(*REGISTER, check=True)
        released.set()
    assert outcome.exit_code == 1
    assert "no answer within 0.2 s" in outcome.err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
async def test_a_certificate_of_ones_own_is_a_fault(shell: Shell, tmp_path: Path) -> None:
    """A self-signed certificate is a fault, because Konvox would not accept it either."""
    async with answering(shell, 200, tls=self_signed(tmp_path)) as asked:
        outcome = await shell.register(*REGISTER, check=True)
    assert outcome.exit_code == 1
    assert "TLS fails (self-signed certificate)" in outcome.err
    assert "public authority" in outcome.err
    assert asked == []


async def test_https_to_a_port_without_tls_is_a_fault(shell: Shell, redis_url: str) -> None:
    """HTTPS to a port without TLS is a fault: the proxy in front is missing."""
    async with shell.receiver(redis_url) as receiver:
        shell.configure(PUBLIC_URL=f"https://127.0.0.1:{receiver.port}")
        outcome = await shell.register(*REGISTER, check=True)
    assert outcome.exit_code == 1
    assert "TLS fails" in outcome.err


def self_signed(folder: Path) -> ssl.SSLContext:
    """A TLS context with a self-signed certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("host", ["http://localhost:8080", "http://127.0.0.1:8080", "https://10.0.0.1"])
async def test_local_urls_are_refused(shell: Shell, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local URL is exit code 2, unless Konvox is the sandbox on this machine, which it is not here."""
    monkeypatch.setattr("konvox_hooks.registration.reachability.sandbox_is_local", lambda _: False)
    monkeypatch.setattr("konvox_hooks.registration.register.sandbox_is_local", lambda _: False)
    shell.configure(PUBLIC_URL=host)
    outcome = await shell.register(*REGISTER, check=True)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert "where Konvox cannot deliver" in outcome.err
    shell.configure(HOOK_TOKENS=None)
    without_token = await shell.register(*REGISTER, check=True)
    assert (without_token.exit_code, without_token.out) == (2, "")
    assert await shell.known() == []


async def test_without_the_check_nothing_is_asked(shell: Shell) -> None:
    """With --no-check an endpoint that cannot be reached is registered."""
    async with answering(shell, 500) as asked:
        assert (await shell.register(*REGISTER, "--no-check")).exit_code == 0
    assert asked == []
    assert len(await shell.known()) == 1


@pytest.mark.parametrize("options", [("--dry-run",), ()])
async def test_nothing_is_asked_where_nothing_is_registered(shell: Shell, options: Sequence[str]) -> None:
    """A dry run, and one with nothing to do, check nothing: at a deploy the receiver may not be up yet."""
    async with answering(shell, 500) as asked:
        if not options:
            assert (await shell.register(*REGISTER)).exit_code == 0
        assert (await shell.register(*REGISTER, *options, check=True)).exit_code == 0
    assert asked == []


async def test_strangers_see_no_difference(redis_url: str, shell: Shell) -> None:
    """To a challenge from somebody without the secret, every answer is exactly the one without a challenge."""
    stranger = make_challenge("token", "guessed-token-0123456789", ORIGIN)
    holder = make_challenge("token", TOKEN, ORIGIN)
    nonce, of_holder = stranger.url.rpartition("/")[2], holder.url.removeprefix(ORIGIN)

    async def ask(path: str, challenge: str | None, *, method: str = "POST") -> Answer:
        """Send a request, with or without this header."""
        headers = [] if challenge is None else [(CHALLENGE_HEADER, challenge)]
        return await receiver.send(http_request(path, method=method, headers=headers))

    async with shell.receiver(redis_url) as receiver:
        for path in ("/hooks/konvox", "/hooks/konvox/guessed", f"/hooks/konvox/{nonce}", "/", "/healthz"):
            plain = await ask(path, None)
            for header in (stranger.header, "", "x" * 1000, of_holder, holder.header[:-1], holder.header + "0"):
                assert (await ask(path, header)).without_date == plain.without_date
        # The holder's works at its own URL only, only as a POST, and once.
        for path, method in (("/", "POST"), ("/hooks/konvox/a", "POST"), ("/hooks/konvox", "POST"), (of_holder, "GET")):
            plain = await ask(path, None, method=method)
            assert (await ask(path, holder.header, method=method)).without_date == plain.without_date
        answer = await ask(of_holder, holder.header)
        assert (answer.status, holder.is_answered_by(answer.body)) == (200, True)
        assert (await ask(of_holder, holder.header)).status == 404


async def test_a_challenge_is_no_delivery(redis_url: str, shell: Shell) -> None:
    """A challenge is answered whatever the body is, and not counted; with a stranger's header a delivery is one."""
    async with shell.receiver(redis_url) as receiver:
        body = b'{"event": "contact.replied", "timestamp": "2026-05-20T14:32:00.000Z", "companyId": "c", "data": {}}'
        answers = []
        for token in (TOKEN, "guessed-token-0123456789", "guessed-token-0123456789"):
            challenge = make_challenge("token", token, ORIGIN)
            path_token = challenge.url.rpartition("/")[2] if token == TOKEN else TOKEN
            headers = [(CHALLENGE_HEADER, challenge.header)]
            answers.append(await receiver.deliver(body, token=path_token, headers=headers))
    assert ["challenge" in answer.json for answer in answers] == [True, False, False]
    assert [answer.json.get("status") for answer in answers] == [None, "accepted", "duplicate"]
