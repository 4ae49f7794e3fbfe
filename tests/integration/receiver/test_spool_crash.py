"""kill -9 in the middle of spooling: everything that was acknowledged is there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.spool import Spool
from tests.support.logwatch import LogWatch, watching
from tests.support.spooling import ROOM, drain, files_in, taken_up

PROJECT = Path(__file__).parents[3]


@pytest.fixture
async def log() -> AsyncIterator[LogWatch]:
    """The log."""
    with watching() as watch:
        yield watch


class Writer:
    """A process that spools until it is killed.

    Attributes:
        acked: the ids that were acknowledged.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = process.stdout
        self.acked: list[str] = []

    @classmethod
    async def start(cls, folder: Path, first: int) -> Writer:
        """Start one whose events have numbers from `first`."""
        command = [sys.executable, "-m", "tests.support.spool_writer", str(folder), str(first)]
        return cls(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=PROJECT))

    async def until_acked(self, batches: int) -> None:
        """Wait for so many acknowledgements."""
        for _ in range(batches):
            self._take(await self._output.readline())

    async def kill(self) -> None:
        """End it without a chance to say goodbye; what it said before counts."""
        self._process.kill()
        for line in (await self._output.read()).splitlines(keepends=True):
            self._take(line)
        await self._process.wait()

    def _take(self, line: bytes) -> None:
        if line.endswith(b"\n"):
            self.acked += line.decode().split()


@pytest.mark.parametrize("batches", [1, 2, 17, 60, 300])
async def test_what_was_acknowledged_is_there_after_a_kill(batches: int, tmp_path: Path, log: LogWatch) -> None:
    """After a kill all acknowledged events are there in order, and besides them at most one batch."""
    writer = await Writer.start(tmp_path, 0)
    await writer.until_acked(batches)
    await writer.kill()
    ids = await taken_up(tmp_path)
    assert ids[: len(writer.acked)] == writer.acked
    assert len(ids) - len(writer.acked) <= 7
    assert log.of("spool.damaged") == []
    assert files_in(tmp_path) == []


async def test_a_spool_is_taken_up_as_soon_as_its_process_is_dead(tmp_path: Path) -> None:
    """Of two writers on one folder, only the dead one's events are adopted."""
    first, second = await asyncio.gather(Writer.start(tmp_path, 0), Writer.start(tmp_path, 1_000_000))
    await asyncio.gather(first.until_acked(20), second.until_acked(20))
    async with Spool(tmp_path, max_bytes=ROOM) as spool:
        await spool.adopt()
        assert spool.count == 0
        await first.kill()
        await spool.adopt()
        ids = await drain(spool)
        assert ids[: len(first.acked)] == first.acked
        await second.until_acked(5)
        await second.kill()
        await spool.adopt()
        assert (await drain(spool))[: len(second.acked)] == second.acked
