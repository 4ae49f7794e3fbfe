"""A clean environment for tests: nothing of the machine on which they run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make an empty working directory, and remove all KONVOX_ variables."""
    for name in list(os.environ):
        if name.upper().startswith("KONVOX_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
