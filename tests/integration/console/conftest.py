"""A console for each test, in an empty folder and on a key space of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.console import Console


@pytest.fixture
def console(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Console:
    """A console in an empty folder, with nothing configured but the store and a free admin port."""
    for name in [name for name in os.environ if name.startswith("KONVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KONVOX_REDIS_URL", redis_url)
    monkeypatch.setenv("KONVOX_ADMIN_PORT", "0")
    return Console(redis_url, monkeypatch, capsys)
