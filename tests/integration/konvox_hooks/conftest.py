"""Fixtures of command tests: a console for each test, in an empty folder and on a key space of its own."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from konvox.sandbox import SandboxConfig, create_sandbox
from tests.support.console import Console
from tests.support.registration import FULL, OLD_TOKEN, READ, TOKEN, Shell

ServerFor = Callable[[web.Application], Awaitable[TestServer]]


@pytest.fixture
def console(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Console:
    """A console in an empty folder, where only the store and a free admin port are configured."""
    for name in [name for name in os.environ if name.startswith("KONVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KONVOX_REDIS_URL", redis_url)
    monkeypatch.setenv("KONVOX_ADMIN_PORT", "0")
    return Console(redis_url, monkeypatch, capsys)


@pytest.fixture
def process_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Use an empty working directory without settings, and undo what a command imports or configures for logging."""
    for name in [name for name in os.environ if name.startswith("KONVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    sys.modules.pop("shop_hooks", None)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def shell_for(
    process_as_it_was: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    aiohttp_server: ServerFor,
) -> Callable[..., Awaitable[Shell]]:
    """Makes a shell that is configured for a new sandbox."""

    async def start(**fields: Any) -> Shell:
        """Start a sandbox, and configure the command for it."""
        server = await aiohttp_server(create_sandbox(SandboxConfig(full_key=FULL, read_key=READ, **fields)))
        shell = Shell(capsys, monkeypatch, str(server.make_url("/")), process_as_it_was)
        shell.configure(
            API_URL=shell.api_url,
            API_KEY=FULL,
            PUBLIC_URL="https://hooks.example.com",
            HOOK_TOKENS=f"{TOKEN},{OLD_TOKEN}",
        )
        return shell

    return start


@pytest.fixture
async def shell(shell_for: Callable[..., Awaitable[Shell]]) -> Shell:
    """A shell that is configured for a new sandbox."""
    return await shell_for()
