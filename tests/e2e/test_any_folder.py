"""Every command works in a folder whose files have the names of our packages, and executes none of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from konvox.samples import sample_body
from tests.support.any_folder import OTHERS, OURS, STANDARD, THEIRS, executed, make_any_folder
from tests.support.processes import OurProcess
from tests.support.terminal import free_port

TOKEN = "a-token-for-the-tests-of-any-folder-1"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder. Whatever a test does there, no file that has one of these names is executed."""
    folder = make_any_folder(tmp_path / "theirs")
    yield folder
    assert executed(folder) == []


def environment(**more: str) -> dict[str, str]:
    """Of every process: the handlers, a token, and ports that nobody else uses."""
    return {
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
        **more,
    }


async def test_serve_and_the_commands_beside_it(folder: Path) -> None:
    """An event is received and handled with the user's own worker.py, and every other command does what it should."""
    (folder / "events.jsonl").write_bytes(sample_body("contact.replied") + b"\n")
    env = environment(KONVOX_PORT=str(free_port()))
    expected = {
        ("handlers",): (0, "mine.tell"),
        ("config",): (0, "KONVOX_HANDLERS"),
        ("doctor",): (3, "hides what handlers import"),
        ("init", "."): (3, "made "),
        ("replay", "events.jsonl"): (0, "1 done"),
        ("events", "list"): (0, "contact.replied"),
        ("audit",): (0, "accepted"),
        ("dead", "list"): (0, ""),
        ("trigger", "--help"): (0, "konvox-hooks trigger"),
    }

    async def outcome(*arguments: str) -> tuple[int, str]:
        """Run a command to its end; its exit code, and what it wrote to stdout."""
        async with await OurProcess.start(*arguments, env=env, cwd=folder) as command:
            code = await command.ended()
        assert "Traceback" not in command.stderr
        return code, command.stdout

    async with await OurProcess.start("serve", env=env, cwd=folder) as serve:
        await serve.listening("receiver")
        assert (await outcome("trigger", "contact.replied"))[0] == 0
        assert (await serve.logged("seen"))["synced"] == ["mine"] * 3
        outcomes = await asyncio.gather(*(outcome(*arguments) for arguments in expected))
        assert await serve.terminate() == 0, serve.stderr
    for (arguments, (code, text)), (ended, written) in zip(expected.items(), outcomes, strict=True):
        assert (ended, text in written) == (code, True), (arguments, written)


async def test_dev(folder: Path) -> None:
    """`dev` starts both roles, sees that the user's worker.py changes, and stops."""
    async with await OurProcess.start("dev", env=environment(KONVOX_HANDLERS="mine"), cwd=folder) as dev:
        await dev.listening("receiver")
        await dev.logged("worker.started")
        (folder / "worker.py").write_text("def start_sync() -> str:\n    return 'changed'\n")
        await dev.logged("handlers.changed", files=["worker.py"])
        assert await dev.terminate() == 0, dev.stderr


async def test_several_processes(folder: Path, redis_url: str) -> None:
    """A supervisor's children start in any folder as well."""
    env = environment(KONVOX_REDIS_URL=redis_url)
    async with (
        await OurProcess.start("receiver", "--processes", "2", env=env, cwd=folder) as receiver,
        await OurProcess.start("worker", "--processes", "2", env=env, cwd=folder) as worker,
    ):
        for supervisor, event in ((receiver, "listener.started"), (worker, "worker.started")):
            await _logged_twice(supervisor, event)
        assert await worker.terminate() == 0, worker.stderr
        assert await receiver.terminate() == 0, receiver.stderr
    assert "child.died" not in receiver.stderr + worker.stderr


async def _logged_twice(supervisor: OurProcess, event: str) -> None:
    await supervisor.said(lambda _: _count(supervisor, event) >= 2, f"two times {event}")


def _count(supervisor: OurProcess, event: str) -> int:
    named = {"listener": "receiver"} if event == "listener.started" else {}
    return sum(line["event"] == event and named.items() <= line.items() for line in supervisor.log)


@pytest.mark.parametrize("safe_path", ["", "1"])
def test_the_module_is_typed_by_hand(folder: Path, safe_path: str) -> None:
    """`python -m konvox_hooks` works wherever Python finds it, with PYTHONSAFEPATH set or not."""
    if not safe_path:
        (folder / "konvox_hooks.py").unlink(missing_ok=True)  # which is what Python was asked to run
        (folder / "konvox_hooks" / "__init__.py").unlink(missing_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
    for arguments, text in ((("--version",), "version"), (("config",), "KONVOX_PORT")):
        done = subprocess.run(
            [sys.executable, "-m", "konvox_hooks", *arguments],
            cwd=folder,
            env={**env, "PYTHONSAFEPATH": safe_path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr, text in done.stdout) == (0, "", True)


def test_the_folder_would_break_what_looks_there_first(folder: Path) -> None:
    """A Python that looks into the folder first would fail at any of these names, so the other tests can fail."""
    for name in (*OURS, *THEIRS, *STANDARD, *OTHERS):
        assert (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()
    done = subprocess.run([sys.executable, "-c", "import redis"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 1
    assert executed(folder) == ["redis"]
    (folder / "executed-redis").unlink()
