"""Tests of docs/one-server.md: its commands run, and what is backed up can be restored, as the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import readme
from tests.support.processes import OurProcess
from tests.support.terminal import free_port, type_command

_PAGE = Path(__file__).parents[2] / "docs" / "one-server.md"
_HOME = "/var/lib/konvox-hooks"
_TOKEN = "a-token-for-the-tests-of-the-docs"


@pytest.mark.skipif(shutil.which("tar") is None, reason="the page's backup needs tar")
async def test_every_command_of_ours_works_and_a_backup_is_whole(tmp_path: Path) -> None:
    """After registering, checking, a backup, the loss of the folder and a restore, every event is there."""
    home, sandbox_port = tmp_path / "home", free_port()
    home.mkdir()
    (home / "my_handlers.py").write_text(readme.file("my_handlers.py"))
    env = {
        "KONVOX_API_URL": f"http://127.0.0.1:{sandbox_port}",
        "KONVOX_API_KEY": "kvx_live_sandbox_full",
        "KONVOX_PORT": str(free_port()),
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_HOOK_TOKENS": _TOKEN,
        "KONVOX_HANDLERS": "./my_handlers.py",
    }
    env["KONVOX_PUBLIC_URL"] = f"http://127.0.0.1:{env['KONVOX_PORT']}"
    commands = readme.commands(_PAGE)
    ours = [command for command in commands if command.startswith("konvox-hooks ")]
    [create, extract] = [command.replace(_HOME, str(home)) for command in commands if command.startswith("tar ")]
    async with await OurProcess.start("sandbox", "--port", str(sandbox_port), env={}, cwd=tmp_path) as sandbox:
        await sandbox.said(lambda line: "sandbox" in line, "its URL")
        await _serve_and_type(sorted(set(ours), key=_register_first), env, home)
        await type_command(create, env, tmp_path)
        shutil.rmtree(home)
        home.mkdir()
        await type_command(extract, env, tmp_path)
        [listed, audit] = await _serve_and_type(["konvox-hooks events list", "konvox-hooks audit"], env, home)
    assert "contact.replied" in listed
    assert "accounted for" in audit
    assert len(set(ours)) >= 4


def _register_first(command: str) -> bool:
    return not command.endswith(" register")  # until then, `doctor` has something to say


async def _serve_and_type(commands: list[str], env: dict[str, str], folder: Path) -> list[str]:
    """Type commands beside the running service; returns what they wrote."""
    async with await OurProcess.start("serve", env=env, cwd=folder) as serve:
        await serve.listening("receiver")
        await serve.logged("worker.started")
        written = [await type_command(command, env, folder) for command in commands]
        assert await serve.terminate() == 0
    return written
