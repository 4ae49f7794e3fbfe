"""Commands in this process, with events that are received and a worker that handles them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from broker.admission import AdmissionPolicy, admit
from broker.records import Job, Record
from broker.redis.client import close
from konvox.samples import sample_body
from konvox_hooks.cli import run
from tests.support.store import RedisClient, connect

T = TypeVar("T")

_FIRST_HAPPENED = datetime(2026, 5, 20, tzinfo=UTC)
_FIRST_RECEIVED_AT_MS = 1_780_000_000_000

_next_module = itertools.count(1)
_next_event = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command.

    Attributes:
        exit_code: the exit code.
        out: stdout.
        err: stderr.
    """

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only document on stdout."""
        return orjson.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The table on stdout, without its header."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


class Console:
    """Runs commands in this process, in a folder and on a key space of the test."""

    def __init__(self, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.redis_url = redis_url
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        """Run one command line."""
        self._capsys.readouterr()
        exit_code = run(arguments)
        captured = self._capsys.readouterr()
        assert "Traceback (most recent call last)" not in captured.err
        return Done(exit_code, captured.out, captured.err)

    def setting(self, name: str, value: str) -> None:
        """Set a KONVOX_ variable."""
        self._monkeypatch.setenv(f"KONVOX_{name}", value)

    def plug_in(self, source: str) -> str:
        """Make a module of handlers from this source and configure it; returns the module's name."""
        module = f"plugged_in_{next(_next_module)}"
        Path(f"{module}.py").write_text(f"from handlers import Drop, Retry, on\n\n\n{source}")
        self.setting("HANDLERS", f"./{module}.py")
        return module

    def receive(self, *event_types: str, **fields: Any) -> list[Record]:
        """Receive events in this order, a second apart. All are different events."""
        records = [
            Record.capture(
                sample_body(name, timestamp=_FIRST_HAPPENED + timedelta(seconds=next(_next_event)), **fields),
                received_at_ms=_FIRST_RECEIVED_AT_MS + 1000 * position,
            )
            for position, name in enumerate(event_types)
        ]
        self.admit([Job.first(record) for record in records])
        return records

    def admit(self, jobs: Sequence[Job]) -> list[bool]:
        """Admit jobs to the store."""

        async def put(server: RedisClient) -> list[bool]:
            """Admit them."""
            return await admit(server, jobs, AdmissionPolicy())

        return self.in_store(put)

    def in_store(self, look: Callable[[RedisClient], Awaitable[T]]) -> T:
        """Call an async function with a connection to the store."""

        async def connected() -> T:
            """Call the function."""
            server = connect(self.redis_url)
            try:
                return await look(server)
            finally:
                await close(server)

        return asyncio.run(connected())

    def work(self) -> None:
        """Run a worker until the queue is empty."""
        assert run(["worker", "--burst"]) == 0
