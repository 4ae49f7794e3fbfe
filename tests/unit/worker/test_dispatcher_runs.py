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
    assert len(dispatcher._runs) == count
    if how == "cancelled":
        task.cancel()
    let_go.set()
    await asyncio.wait([task])
    await until(_no_other_task)
    assert (dispatcher._runs, dispatcher._several) == ({}, {})
    assert [limit._running for limit in dispatcher._limits.values()] == [{}]


async def _no_other_task() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_task_tells_what_runs_in_it() -> None:
    """Each handler of an event is found by the task that it runs in; other tasks run nothing of ours."""
    found: dict[str, Any] = {}

    async def look(event: Any, ctx: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        run = dispatcher.run_in(task)
        assert run is not None
        found[run[0].name] = run[1]

    dispatcher = dispatcher_of(handler(look, name="a"), handler(look, name="b"))
    await dispatcher.dispatch(job_of(1))
    assert found == {"a": job_of(1), "b": job_of(1)}
    this_task = asyncio.current_task()
    assert this_task is not None
    assert dispatcher.run_in(this_task) is None
