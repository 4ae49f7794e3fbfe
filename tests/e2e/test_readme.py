"""The README is true: its commands are typed, in its order, in an empty folder, as a newcomer would."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from tests.support import readme
from tests.support.processes import OurProcess

_RUN_ELSEWHERE = {"make demo", "make test"}
"""`make demo` is tests/e2e/test_demo.py; `make test` is what runs this."""

_SANDBOX_KEY = "kvx_live_sandbox_full"


def test_the_settings_table_is_that_of_the_code() -> None:
    """Every setting stands in the README with its default and what it is."""
    assert readme.part("settings") == readme.settings_table()


async def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    """Handler, settings, service, events, registration, export and replay: all of it, in the README's order."""
    (tmp_path / "my_handlers.py").write_text(readme.file("my_handlers.py"))
    env = {"KONVOX_PORT": str(_free_port()), "KONVOX_ADMIN_PORT": "0"}
    commands = readme.commands()
    sandbox_command = next(command for command in commands if " sandbox" in command)
    serve_command = next(command for command in commands if command.endswith(" serve"))
    sandbox_port = str(_free_port())
    options = sandbox_command.replace("8090", sandbox_port).split()[1:]
    async with await OurProcess.start(*options, env={}, cwd=tmp_path) as sandbox:
        await sandbox.said(lambda line: "sandbox" in line, "its URL")
        env |= {
            "KONVOX_API_URL": f"http://127.0.0.1:{sandbox_port}",
            "KONVOX_API_KEY": _SANDBOX_KEY,
            "KONVOX_PUBLIC_URL": f"http://127.0.0.1:{env['KONVOX_PORT']}",
        }
        typed = [command for command in commands if command not in {*_RUN_ELSEWHERE, sandbox_command}]
        before, after = typed[: typed.index(serve_command)], typed[typed.index(serve_command) + 1 :]
        for command in before:
            await _type(command, env, tmp_path)
        async with await OurProcess.start(*serve_command.split()[1:], env=env, cwd=tmp_path) as serve:
            await serve.listening("receiver")
            await serve.logged("worker.started")
            for command in after:
                await _type(command, env, tmp_path)
            await serve.logged("a contact replied")
            assert await serve.terminate() == 0
    assert len(before) + len(after) > 10


async def _type(command: str, env: dict[str, str], folder: Path) -> None:
    """Type a command into a shell, and expect it to succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        command,
        env={**os.environ, **env, "PATH": path},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}:\n{output.decode()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
