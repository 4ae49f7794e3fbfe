"""The rows of the matrix, one module per fault, in the order in which they are played."""

from __future__ import annotations

from tests.chaos.matrix.row import Row
from tests.chaos.matrix.rows import (
    dead_letters,
    kill_receiver,
    kill_redis,
    kill_worker,
    long_handlers,
    outages,
    poison,
    refusals,
    same_body,
    script_flush,
    sigterm,
    spool_full,
)

ROWS: dict[int, Row] = {
    row.number: row
    for row in (
        kill_receiver.ROW,
        kill_worker.ROW,
        kill_redis.ROW,
        dead_letters.ROW,
        sigterm.ROW,
        poison.ROW,
        outages.HANGS,
        outages.FULL,
        outages.READ_ONLY,
        script_flush.ROW,
        same_body.ROW,
        long_handlers.SLOW,
        long_handlers.BLOCKING,
        refusals.ROW,
        spool_full.ROW,
    )
}
