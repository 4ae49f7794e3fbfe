"""Tests of the README: its commands run in order, in an empty folder, as a new user would type them."""

from __future__ import annotations

from pathlib import Path

from tests.support import readme
from tests.support.processes import OurProcess
from tests.support.terminal import free_port, type_command

_RUN_ELSEWHERE = {"make demo", "make test"}
"""`make demo` is tests/e2e/test_demo.py; `make test` is what runs this."""

_SANDBOX_KEY = "kvx_live_sandbox_full"


def test_the_settings_table_is_that_of_the_code() -> None:
    """The README's table has every setting with its default and its description."""
    assert readme.part("settings") == readme.settings_table()


async def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    """All commands of the README work in order: handler, settings, service, events, registration, export, replay."""
    (tmp_path / "my_handlers.py").write_text(readme.file("my_handlers.py"))
    env = {"KONVOX_PORT": str(free_port()), "KONVOX_ADMIN_PORT": "0"}
    commands = readme.commands()
    sandbox_command = next(command for command in commands if " sandbox" in command)
    serve_command = next(command for command in commands if command.endswith(" serve"))
    sandbox_port = str(free_port())
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
            await type_command(command, env, tmp_path)
        async with await OurProcess.start(*serve_command.split()[1:], env=env, cwd=tmp_path) as serve:
            await serve.listening("receiver")
            await serve.logged("worker.started")
            for command in after:
                await type_command(command, env, tmp_path)
            await serve.logged("a contact replied")
            assert await serve.terminate() == 0
    assert len(before) + len(after) > 10
