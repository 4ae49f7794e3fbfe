"""Tests of docs/sandbox.md: its commands run in order, beside a running service."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from konvox.sandbox.control import DELIVERIES_PATH, FIRE_FIELDS, FIRE_PATH
from konvox.sandbox.scenarios import SCENARIOS
from konvox_hooks.commands import sandbox as sandbox_command
from tests.support import readme
from tests.support.processes import OurProcess
from tests.support.terminal import free_port, type_command

_PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"
_TOKEN = "a-token-for-the-tests-of-the-docs"


def test_the_page_knows_every_option() -> None:
    """The page describes every option, scenario and field."""
    page = _PAGE.read_text(encoding="utf-8")
    options = {name for option in sandbox_command.command.params for name in option.opts if name.startswith("--")}
    assert len(options) > 10
    for word in {*options, *SCENARIOS, *FIRE_FIELDS, FIRE_PATH, DELIVERIES_PATH}:
        assert word in page, word


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl")
async def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    """Each sandbox of the page starts, and the commands after it succeed and do what the page says."""
    port = str(free_port())
    env = {
        "KONVOX_API_URL": f"http://127.0.0.1:{port}",
        "KONVOX_API_KEY": "kvx_live_sandbox_full",
        "KONVOX_PUBLIC_URL": f"http://127.0.0.1:{free_port()}",
        "KONVOX_HOOK_TOKENS": _TOKEN,
        "KONVOX_ADMIN_PORT": "0",
    }
    env["KONVOX_PORT"] = env["KONVOX_PUBLIC_URL"].rpartition(":")[2]
    (tmp_path / "mine.py").write_text("from handlers import on\n\n\n@on('*')\ndef see(event, ctx): ...\n")
    env["KONVOX_HANDLERS"] = "./mine.py"
    first, *others = [command for command in readme.commands(_PAGE) if command.startswith("konvox-hooks sandbox")]
    typed = [command for command in readme.commands(_PAGE) if command not in {first, *others}]
    async with (
        await OurProcess.start("serve", env=env, cwd=tmp_path) as serve,
        await OurProcess.start(*first.replace("8090", port).split()[1:], env={}, cwd=tmp_path) as sandbox,
        asyncio.TaskGroup() as group,
    ):
        for command in others:
            group.create_task(_starts(command.replace("8090", "0"), tmp_path))
        await serve.listening("receiver")
        await sandbox.said(_is_up, "its URL")
        _check({shown: await type_command(shown.replace("8090", port), env, tmp_path) for shown in typed})
    assert len(others) > 4


def _is_up(line: dict[str, Any]) -> bool:
    return "sandbox" in line


async def _starts(command: str, folder: Path) -> None:
    """Start a sandbox with these options, and stop it in order."""
    async with await OurProcess.start(*command.split()[1:], env={}, cwd=folder) as sandbox:
        await sandbox.said(_is_up, "its URL")
        assert await sandbox.terminate() == 0


def _check(said: dict[str, str]) -> None:
    """The fired events, the duplicates, the late copies and the campaign's events must have arrived."""
    answers = {command: orjson.loads(output) for command, output in said.items() if command.startswith("curl")}
    assert all(answer["error"] is None for answer in answers.values())
    [thrice] = [answer["data"] for command, answer in answers.items() if '"wait": true' in command]
    assert [outcome["outcome"] for outcome in thrice["outcomes"]] == ["delivered"] * 3
    [attempts] = [answer["data"] for command, answer in answers.items() if command.endswith(DELIVERIES_PATH)]
    assert {attempt["status"] for attempt in attempts} == {200}
    assert "active 2" in said["konvox-hooks api campaigns list"]
    assert said["konvox-hooks events list"].count("enrollment.created") == 2
