"""The short form of `make chaos`: the rows in which something is killed, once each, at random moments."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.chaos.matrix.report import failures
from tests.chaos.matrix.rows import ROWS
from tests.chaos.matrix.runner import Result, iterate
from tests.chaos.matrix.stage import open_stage

KILLS = (1, 2, 4, 3)


async def test_kill_minus_nine_loses_and_forges_nothing(tmp_path: Path) -> None:
    """After a kill, every acked event is handled, dead or still there, and what was not let in never runs."""
    async with open_stage(tmp_path / "stage") as stage:
        for number in KILLS:
            result = Result(ROWS[number], seed=secrets.randbelow(2**32))
            assert await iterate(stage, result, result.seed), failures([result])
            assert result.acked > 0
            assert (result.iterations, result.lost, result.forged) == (1, 0, 0)
