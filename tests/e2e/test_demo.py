"""A test of the demo, as a new user runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support import readme
from tests.support.any_folder import make_any_folder
from tests.support.processes import OurProcess


async def test_the_demo_tells_its_story_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is ok in any folder, the README shows the same output, and no process and no file remains."""
    folder = make_any_folder(tmp_path / "theirs")
    before = sorted(folder.rglob("*"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    async with await OurProcess.start("demo", env={"TMPDIR": str(temporary)}, cwd=folder) as demo:
        mine = psutil.Process(demo.process.pid)
        assert await demo.ended() == 0, demo.stdout + demo.stderr
    assert readme.demo_block(demo.stdout) == readme.part("demo")
    assert demo.stderr == ""
    assert list(temporary.iterdir()) == []
    assert sorted(folder.rglob("*")) == before
    assert not mine.is_running()
    assert [p for p in psutil.process_iter() if str(temporary) in _environment(p)] == []


def _environment(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("TMPDIR", ""))
    except psutil.Error:
        return ""
