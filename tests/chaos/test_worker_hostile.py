"""Handlers that do what handlers should not, in a real worker: they harm nobody but themselves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.event_log import events
from konvox_hooks.process.own_command import own_command
from tests.support.events import admitted, queued_ids
from tests.support.processes import OurProcess
from tests.support.store import RedisClient

HOSTILE = """
import sys

from handlers import on


class Rude(BaseException):
    pass


def misbehave(event):
    match event.type:
        case "test.nonsense":
            return {"status": object(), "body": b"\\xff", "next": misbehave}
        case "test.base_exception":
            raise Rude("\\ud800")
        case "test.exits":
            sys.exit("bye")
        case "test.interrupts":
            raise KeyboardInterrupt
        case "test.recurses":
            return misbehave(event)
        case "test.prints":
            print("x" * 100_000_000)
            sys.stdout.write("y" * 100_000_000)


@on("*", attempts=1)
async def hostile(event, ctx):
    return misbehave(event)


@on("*", attempts=1)
def hostile_thread(event, ctx):
    return misbehave(event)


@on("*", attempts=1)
async def innocent(event, ctx):
    pass
"""

BEHAVIOUR = {
    "test.nonsense": "",
    "test.base_exception": "Rude",
    "test.exits": "SystemExit: bye",
    "test.interrupts": "KeyboardInterrupt",
    "test.recurses": "RecursionError",
    "test.prints": "",
    "test.fine": "",
}
"""What is in the error of both hostile handlers, by the type of the event; empty where they are done."""


def environment(redis_url: str, folder: Path) -> dict[str, str]:
    """Of a process of ours, with nothing of the developer's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
    return {
        **clean,
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HANDLERS": str(folder / "mine.py"),
        "KONVOX_ADMIN_PORT": "0",
    }


async def _start(env: dict[str, str], folder: Path) -> OurProcess:
    """A worker whose stdout nobody reads."""
    process = await asyncio.create_subprocess_exec(
        *own_command("worker", "--burst"),
        env=env,
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    return OurProcess(process)


async def test_a_hostile_handler_hurts_nobody_else(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """A handler that returns nonsense, raises anything or prints megabytes harms no worker and no other handler."""
    (tmp_path / "mine.py").write_text(HOSTILE)
    for event_type in BEHAVIOUR:
        await admitted(server, 2, event_type)
    async with await _start(environment(redis_url, tmp_path), tmp_path) as worker:
        assert await worker.ended() == 0, worker.stderr
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered, ledger.dead, ledger.balanced) == (14, 6, 8, True)
    async for logged in events(server):
        expected = BEHAVIOUR[logged.record.type]
        assert logged.outcomes["mine.innocent"]["state"] == "done"
        for name in ("mine.hostile", "mine.hostile_thread"):
            assert logged.outcomes[name]["state"] == ("dead" if expected else "done")
            assert expected in logged.outcomes[name].get("error", "")
    letters = [letter async for letter in list_dead_letters(server)]
    assert len(letters) == 16
    assert all("in misbehave" in letter.traceback for letter in letters)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module_anywhere\n", "no_such_module_anywhere"),
        ("raise RuntimeError('at import')\n", "RuntimeError: at import"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
    ],
    ids=["no Python", "missing import", "raises", "exits"],
)
async def test_a_file_that_does_not_import_keeps_the_worker_from_starting(
    server: RedisClient, redis_url: str, tmp_path: Path, code: str, shown: str
) -> None:
    """A file that cannot be imported ends the worker with code 2 and its traceback before it claims any event."""
    (job,) = await admitted(server, 1)
    (tmp_path / "mine.py").write_text(code)
    async with await _start(environment(redis_url, tmp_path), tmp_path) as worker:
        assert await worker.ended() == 2
    assert f'File "{tmp_path / "mine.py"}", line ' in worker.stderr
    assert shown in worker.stderr
    assert "console/" not in worker.stderr
    assert await queued_ids(server) == {job.id}
