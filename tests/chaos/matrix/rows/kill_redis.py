"""Row 4: kill -9 of Redis, and a restart from its append-only file."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.rows.outages import play
from tests.chaos.matrix.stage import Stage


@asynccontextmanager
async def killed(stage: Stage, _: random.Random) -> AsyncIterator[None]:
    """Redis is dead."""
    stage.valkey.kill()
    try:
        yield
    finally:
        stage.valkey.start()


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Kill Redis while events come in and are handled. Every POST is answered with 200."""
    return await play(stage, chance, killed)


ROW = Row(4, "kill -9 of Redis, restart from the AOF", strike)
