"""Plays rows again and again, and adds up what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from konvox_hooks.errors import Failed
from tests.chaos.matrix.client import PATIENCE_SECONDS
from tests.chaos.matrix.counting import Allowed, Count, count, faults_of
from tests.chaos.matrix.row import Row
from tests.chaos.matrix.stage import BrokenPromiseError, Stage, open_stage

ITERATION_SECONDS = 180.0
"""How long an iteration may take before it counts as stuck."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An iteration in which a promise was broken.

    Attributes:
        row: the number of the row.
        seed: with it, a single iteration does the same again.
        fault: what was broken, in words.
    """

    row: int
    seed: int
    fault: str


@dataclass(slots=True)
class Result:
    """What all iterations of a row came to.

    Attributes:
        row: which.
        seed: that of the first iteration.
        iterations: how many were played.
        acked: how many events were answered with 200.
        effects: how many took effect.
        lost: how many were lost.
        duplicates: how many runs there were beyond those meant.
        allowed: how many there could have been, by what was in flight at the faults.
        forged: how many forged events took effect, or were let in.
        slowest_seconds: the slowest answer.
        seconds: how long it all took.
        failures: the iterations in which a promise was broken.
    """

    row: Row
    seed: int
    iterations: int = 0
    acked: int = 0
    effects: int = 0
    lost: int = 0
    duplicates: int = 0
    allowed: int = 0
    forged: int = 0
    slowest_seconds: float = 0.0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, counted: Count, allowed: Allowed) -> None:
        """Add what was counted in one iteration."""
        self.acked += counted.acked
        self.effects += counted.effects
        self.lost += len(counted.loss)
        self.duplicates += counted.duplicates
        self.allowed += allowed.duplicates
        self.forged += len(counted.forged)


def seeds(seed: int) -> Iterator[int]:
    """The seeds of the iterations. The first is the seed itself, so that any iteration can be played alone."""
    while True:
        yield seed
        seed = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")


async def play(row: Row, *, iterations: int, seed: int) -> Result:
    """Play a row. After a failure it continues on a new stage, so that one fault does not count twice."""
    result = Result(row, seed)
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="konvox-chaos-")))
        stage: Stage | None = None
        stages = 0
        open_now = await stack.enter_async_context(AsyncExitStack())
        for iteration_seed in islice(seeds(seed), iterations):
            if stage is None:
                stages += 1
                opening = open_stage(folder / str(stages), workers=row.workers, redis=row.redis, **row.settings)
                stage = await open_now.enter_async_context(opening)
            if not await iterate(stage, result, iteration_seed):
                await open_now.aclose()
                stage = None
    result.seconds = time.monotonic() - started
    return result


async def iterate(stage: Stage, result: Result, seed: int) -> bool:
    """Play a row once, and add what came of it to its result. Returns whether all promises were kept."""
    faults = await _faults(stage, result, seed)
    result.iterations += 1
    if faults:
        result.failures.append(Failure(result.row.number, seed, "; ".join(faults)))
    return not faults


async def _faults(stage: Stage, result: Result, seed: int) -> list[str]:
    stage.begin(f"{seed}")
    try:
        async with asyncio.timeout(ITERATION_SECONDS):
            allowed = await result.row.strike(stage, random.Random(seed))
            places = await stage.settled()
    except (BrokenPromiseError, Failed, TimeoutError) as broken:
        return [_in_words(broken)]
    except ExceptionGroup as several:  # of a task group in the row
        return [_in_words(error) for error in _leaves(several)]
    answers = stage.client.answers
    acked = {answer.id for answer in answers if answer.status == 200}
    counted = count(stage.sent, acked, places, allowed)
    result.add(counted, allowed)
    result.forged += len(stage.client.break_ins)
    slowest_seconds = max((answer.seconds for answer in answers if answer.status), default=0.0)
    result.slowest_seconds = max(result.slowest_seconds, slowest_seconds)
    faults = faults_of(counted, allowed)
    if stage.client.break_ins:
        faults.append(f"let in: {sorted(stage.client.break_ins)}")
    if unacked := set(stage.sent) - acked:
        faults.append(f"{len(unacked)} never answered with 200")
    if not allowed.refusals and any(answer.status != 200 for answer in answers):
        faults.append(f"answered with {sorted({answer.status for answer in answers})}")
    if slowest_seconds >= PATIENCE_SECONDS:
        faults.append(f"an answer took {slowest_seconds:.1f} s")
    return faults


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
