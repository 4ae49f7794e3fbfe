"""Row 4: Redis dies, by kill -9 or because there is no room for its append-only file, and restarts from that."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.matrix.counting import Allowed
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.rows.outages import play
from tests.chaos.matrix.stage import Stage
from tests.support.refusals import disk_is_full


@asynccontextmanager
async def killed(stage: Stage, _: random.Random) -> AsyncIterator[None]:
    """Kill Redis, and start it again afterwards."""
    stage.valkey.kill()
    try:
        yield
    finally:
        stage.valkey.start()


@asynccontextmanager
async def without_room(stage: Stage, _: random.Random) -> AsyncIterator[None]:
    """Let the append-only file not grow: at the next write Redis ends by itself (`appendfsync always`)."""
    valkey = stage.valkey.process
    assert valkey is not None

    async def ended() -> bool:
        return valkey.poll() is not None

    with disk_is_full(stage.valkey):
        yield
        await stage.until(ended, "Redis ends by itself")
    stage.valkey.start()


async def strike(stage: Stage, chance: random.Random) -> Allowed:
    """Have Redis die while events come in and are handled. Every POST is answered with 200."""
    return await play(stage, chance, chance.choice((killed, without_room)))


ROW = Row(4, "kill -9 of Redis, or no room for its AOF; restart from that", strike)
