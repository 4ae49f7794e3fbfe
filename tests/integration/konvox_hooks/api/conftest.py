"""A shell for each test of `konvox-hooks api`, in an empty folder, with nothing configured."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from konvox.sandbox import SandboxConfig, create_sandbox
from tests.integration.konvox.scripted_konvox import KEY
from tests.support.api import READ_KEY, ApiShell

ServerFor = Callable[[web.Application], Awaitable[TestServer]]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiShell]:
    """A shell in an empty folder, with nothing configured; the logging that a command sets up is undone."""
    for name in [name for name in os.environ if name.startswith("KONVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield ApiShell(capsys, monkeypatch)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def sandbox_for(shell: ApiShell, aiohttp_server: ServerFor) -> Callable[..., Awaitable[ApiShell]]:
    """Makes the shell one that is configured for a fresh sandbox."""

    async def start(**fields: Any) -> ApiShell:
        """Start a sandbox, and configure the command for it."""
        server = await aiohttp_server(create_sandbox(SandboxConfig(full_key=KEY, read_key=READ_KEY, **fields)))
        shell.configure(API_URL=str(server.make_url("/")), API_KEY=KEY)
        return shell

    return start
