"""`konvox-hooks api` in this process, and the records that a scripted Konvox answers with."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass

import pytest

from konvox_hooks.cli import run
from tests.integration.konvox.scripted_konvox import KEY, ScriptedKonvox

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
class ApiShell:
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
