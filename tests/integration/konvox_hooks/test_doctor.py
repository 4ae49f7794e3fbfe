"""Tests of `konvox-hooks doctor` as a whole, with a real sandbox and real receivers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.doctor import examined, healthy, one
from tests.support.processes import OurProcess
from tests.support.registration import FULL, OLD_TOKEN, TOKEN, Shell


async def test_all_is_well(shell: Shell, redis_url: str) -> None:
    """In a healthy set-up every line is ok, the exit code is 0, stderr has only prints of handlers, nothing changes."""
    async with healthy(shell, redis_url):
        before = await shell.known()
        outcome, lines = await examined(shell)
        text = await shell.run("doctor")
        assert await shell.known() == before
    assert (outcome.exit_code, text.exit_code) == (0, 0)
    assert list(lines) == [
        *("settings", "handlers", "data folder", "redis", "redis version", "redis durability", "redis eviction"),
        *(
            "redis clock",
            "redis owner",
            "redis content",
            "authentication",
            "konvox api",
            "konvox key",
            "registration",
            "public url",
        ),
    ]
    assert {line.split()[0] for line in text.out.splitlines()} == {"ok"}
    assert len(text.out.splitlines()) == len(lines)
    assert not list(shell.folder.glob(".konvox-hooks"))


async def test_a_file_that_hides_a_package_of_ours(shell: Shell) -> None:
    """A file that would hide what handlers import in a test run is a warning; others of our names are not."""
    for name in ("konvox.py", "worker.py", "broker.py"):
        (shell.folder / name).touch()
    line = await one(shell, "names")
    assert (line["state"], line["hint"]) == ("warning", "rename it")
    assert line["message"].startswith(str(shell.folder / "konvox.py"))


async def test_with_nothing_configured(shell: Shell) -> None:
    """Without any settings, the findings say what is missing."""
    shell.configure(API_URL=None, API_KEY=None, PUBLIC_URL=None, HOOK_TOKENS=None)
    outcome, lines = await examined(shell)
    assert outcome.exit_code == 1
    assert {check: line["state"] for check, [line] in lines.items()} == {
        "settings": "ok",
        "handlers": "warning",
        "data folder": "ok",
        "redis": "ok",
        "authentication": "fault",
        "konvox api": "warning",
        "public url": "warning",
    }
    assert outcome.err.endswith("konvox-hooks: 1 fault, 3 warnings\n")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('a-secret')", "importing it fails with RuntimeError"),
        ("raise SystemExit(0)", "importing it fails with SystemExit"),
        ("import no_such_module_here", "no_such_module_here, which is not installed"),
        ("def broken(:", "importing it fails with SyntaxError"),
        ("x = 1", "no handler"),
    ],
)
async def test_handlers_that_cannot_be_loaded_are_a_fault(
    shell: Shell, redis_url: str, source: str, message: str
) -> None:
    """If handlers cannot be loaded, the other checks run, and say what they could not compare."""
    async with healthy(shell, redis_url):
        (shell.folder / "shop_hooks.py").write_text(source)
        outcome, lines = await examined(shell)
    assert lines["handlers"][0]["state"] == "fault"
    assert message in lines["handlers"][0]["message"]
    assert "a-secret" not in outcome.out
    assert lines["registration"][0]["message"] == "not checked: the handlers cannot be loaded"
    assert lines["public url"][0]["state"] == "ok"


async def test_handlers_find_their_own_variables_of_env(shell: Shell, redis_url: str) -> None:
    """Handlers find their own variables of `.env` in the environment, as in the worker."""
    (shell.folder / ".env").write_text("SHOP_KEY_OF_THE_TESTS=x\n")
    shell.handle("contact.replied")
    path = shell.folder / "shop_hooks.py"
    path.write_text("import os; os.environ['SHOP_KEY_OF_THE_TESTS']\n" + path.read_text())
    shell.monkeypatch.setenv("SHOP_KEY_OF_THE_TESTS", "x")
    shell.monkeypatch.delenv("SHOP_KEY_OF_THE_TESTS")
    assert (await one(shell, "handlers"))["state"] == "ok"


async def test_several_accounts_are_examined_each(shell: Shell, redis_url: str) -> None:
    """Several accounts are checked each under its name, and Redis and handlers once."""
    (shell.folder / "accounts.toml").write_text(
        f'[acme]\nhook_tokens = "{TOKEN}"\napi_key = "{FULL}"\ncompany_ids = ["clacme"]\n'
        f'[other]\nhook_tokens = "{OLD_TOKEN}"\napi_key = "wrong"\n'
    )
    async with healthy(shell, redis_url):
        shell.configure(ACCOUNTS_FILE="accounts.toml", HOOK_TOKENS=None, API_KEY=None)
        _, lines = await examined(shell)
    assert [line["state"] for line in lines["[acme] authentication"]] == ["ok"]
    assert "company_ids" in lines["[other] authentication"][0]["message"]
    assert lines["[acme] konvox api"][0]["state"] == lines["[acme] registration"][0]["state"] == "ok"
    assert lines["[other] konvox api"][0]["state"] == "fault"
    assert lines["[acme] public url"][0]["state"] == "ok"
    assert lines["[other] public url"][0]["message"].endswith("does not hold this token or signing secret")
    assert (len(lines["redis"]), "authentication" in lines, "konvox api" in lines) == (1, False, False)


async def test_a_newcomer_from_nothing_to_all_ok(tmp_path: Path) -> None:
    """From an empty folder a user makes a token, serves and registers, and all is ok; without `serve` it is not."""
    (tmp_path / "mine.py").write_text(
        "from handlers import on\n\n\n@on('contact.replied')\nasync def f(event, ctx): ...\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    env = {"KONVOX_HANDLERS": "./mine.py", "KONVOX_PORT": port, "KONVOX_ADMIN_PORT": "0", "KONVOX_LOG_FORMAT": "json"}
    async with await OurProcess.start("sandbox", "--port", "0", env={}, cwd=tmp_path) as sandbox:
        api_url = str((await sandbox.said(lambda line: "sandbox" in line, "its URL"))["sandbox"])
        env |= {
            "KONVOX_API_URL": api_url,
            "KONVOX_API_KEY": "kvx_live_sandbox_full",
            "KONVOX_PUBLIC_URL": f"http://127.0.0.1:{port}",
        }

        async def code(*arguments: str) -> int:
            """Run a command; returns its exit code."""
            async with await OurProcess.start(*arguments, env=env, cwd=tmp_path) as process:
                return await process.ended()

        assert await code("doctor") == 1
        assert await code("register", "--write-env") == 3
        async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
            await serve.listening("receiver")
            assert await code("doctor") == 3
            assert await code("register", "--write-env") == 0
            assert await code("doctor") == 0
            assert await serve.terminate() == 0
        assert await code("doctor") == 1


async def test_an_env_file_that_others_can_read(shell: Shell) -> None:
    """A `.env` that others can read is a warning with the command that closes it; one that is closed is none."""
    path = shell.folder / ".env"
    path.write_text("SHOP_KEY_OF_THE_TESTS=x\n")
    path.chmod(0o644)
    line = await one(shell, "secrets")
    assert (line["state"], line["hint"]) == ("warning", "chmod 600 .env")
    assert "0644" in line["message"]
    path.chmod(0o600)
    _, lines = await examined(shell)
    assert "secrets" not in lines
