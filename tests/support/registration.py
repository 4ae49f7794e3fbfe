"""`konvox-hooks register` and `doctor` in this process, together with a sandbox and a receiver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.redis.client import close
from konvox.client import KonvoxClient
from konvox.resources import Webhook
from konvox_hooks.cli import run
from receiver.verification import AccountPolicy
from tests.support.http import RunningReceiver, receiving
from tests.support.store import connect

FULL, READ = "kvx_live_full_key", "kvx_live_read_key"
TOKEN, OLD_TOKEN = "first-token-0123456789", "second-token-0123456789"
URL = f"https://hooks.example.com/hooks/konvox/{TOKEN}"
SHOWN = "https://hooks.example.com/hooks/konvox/••••"
SECRET = "the-signing-secret-0123456789"


@dataclass
class Outcome:
    """The result of a command."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only document on stdout."""
        return orjson.loads(self.out)


@dataclass
class Shell:
    """Runs commands in this process, together with a sandbox."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    api_url: str
    folder: Path

    def configure(self, **variables: str | None) -> None:
        """Set KONVOX_ variables, and remove those that are None."""
        for name, value in variables.items():
            if value is None:
                self.monkeypatch.delenv(f"KONVOX_{name}", raising=False)
            else:
                self.monkeypatch.setenv(f"KONVOX_{name}", value)

    def handle(self, *patterns: str) -> None:
        """Configure a module with a handler for these events."""
        source = f"print('importing')\nfrom handlers import on\n@on(*{patterns!r})\ndef handle(event, ctx): ...\n"
        (self.folder / "shop_hooks.py").write_text(source, encoding="utf-8")
        self.configure(HANDLERS="shop_hooks.py")

    async def register(self, *arguments: str, check: bool = False) -> Outcome:
        """Run `konvox-hooks register`; without `check`, there need not be a receiver."""
        return await self.run("register", *arguments, *(() if check else ("--no-check",)))

    async def run(self, *arguments: str, may_show: str = "") -> Outcome:
        """Run a command; only this secret may be in its output."""
        self.capsys.readouterr()  # what the sandbox logged before is none of the command's
        exit_code = await asyncio.to_thread(run, arguments)
        captured = self.capsys.readouterr()
        for secret in {FULL, READ, TOKEN, OLD_TOKEN} - {may_show}:
            assert secret not in captured.out + captured.err
        assert "Traceback" not in captured.err
        return Outcome(exit_code, captured.out, captured.err)

    async def known(self) -> list[Webhook]:
        """The webhooks of the sandbox."""
        async with KonvoxClient(self.api_url, FULL) as client:
            return [webhook async for webhook in client.webhooks.list()]

    async def add(self, *events: str, url: str = URL, active: bool = True) -> Webhook:
        """Register a webhook without the command."""
        async with KonvoxClient(self.api_url, FULL) as client:
            return await client.webhooks.register(url=url, events=events, active=active)

    @asynccontextmanager
    async def receiver(self, redis_url: str, **policy: Any) -> AsyncIterator[RunningReceiver]:
        """A real receiver, by default with both tokens, at the public URL."""
        server = connect(redis_url)
        try:
            async with receiving(AccountPolicy(**{"tokens": (TOKEN, OLD_TOKEN)} | policy), server) as receiver:
                self.configure(PUBLIC_URL=f"http://127.0.0.1:{receiver.port}")
                yield receiver
        finally:
            await close(server)
