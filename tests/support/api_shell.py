"""`konvox-hooks api` in this process, with a Konvox that the test runs."""

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
WEBHOOK = {"id": "clw1", "url": URL, "events": ["contact.replied"], "active": False}


@dataclass
class Outcome:
    """The result of a command."""

    exit_code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The table on stdout, with its header."""
        return [line.split("\t") for line in self.out.splitlines()]


class Terminal(io.StringIO):
    """A stdin that says that it is a terminal, with text that somebody typed."""

    def isatty(self) -> bool:
        """Return True, unlike the parent class."""
        return True


@dataclass
class ApiShell:
    """Runs `konvox-hooks` in this process, together with a Konvox."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def configure(self, **variables: str) -> None:
        """Set KONVOX_ variables."""
        for name, value in variables.items():
            self.monkeypatch.setenv(f"KONVOX_{name}", value)

    async def api(self, *arguments: str, konvox: ScriptedKonvox | None = None) -> Outcome:
        """Run `konvox-hooks api`; no key may be in its output."""
        if konvox is not None:
            self.configure(API_URL=konvox.url, API_KEY=KEY)
        self.capsys.readouterr()
        exit_code = await asyncio.to_thread(run, ["api", *arguments])
        captured = self.capsys.readouterr()
        assert KEY not in captured.out + captured.err
        assert READ_KEY not in captured.out + captured.err
        assert "Traceback" not in captured.err
        return Outcome(exit_code, captured.out, captured.err)
