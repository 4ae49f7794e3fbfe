"""What the dispatcher keeps of the handlers that run at the moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.events import job_of
from tests.support.workers import dispatcher_of, handler, until


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("how", ["done", "failed", "cancelled"])
async def test_after_a_dispatch_nothing_of_the_job_is_kept(count: int, how: str) -> None:
    """Nothing of a job is kept, however its handlers ended: it would add up, and name a handler that no longer runs."""
    started, let_go = asyncio.Barrier(count + 1), asyncio.Event()

    async def wait(event: Any, ctx: Any) -> None:
        await started.wait()
        await let_go.wait()
        if how == "failed":
            raise RuntimeError("boom")

    dispatcher = dispatcher_of(*(handler(wait, name=f"h{number}", timeout_seconds=60) for number in range(count)))
    task = asyncio.create_task(dispatcher.dispatch(job_of(1)))
    await started.wait()
    assert sum(len(limit._running) for limit in dispatcher._limits.values()) == count
    if how == "cancelled":
        task.cancel()
    let_go.set()
    await asyncio.wait([task])
    await until(_no_other_task)
    assert dispatcher._several == {}
    assert [limit._running for limit in dispatcher._limits.values()] == [{}]


async def _no_other_task() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_task_tells_what_runs_in_it() -> None:
    """Each handler of an event, and each `when`, is found by its task; other tasks run nothing of ours."""
    found: list[tuple[str, Any] | None] = []

    def note() -> bool:
        task = asyncio.current_task()
        assert task is not None
        run = dispatcher.run_in(task)
        found.append(run and (run[0].name, run[1]))
        return True

    async def look(event: Any, ctx: Any) -> None:
        note()

    job = job_of(1)
    timed = handler(look, name="a", timeout_seconds=7), handler(look, name="b", timeout_seconds=8)
    dispatcher = dispatcher_of(*timed, handler(look, name="c", when=lambda _: note()))
    await dispatcher.dispatch(job)
    note()
    assert found == [("a", job), ("b", job), ("c", job), ("c", job), None]
