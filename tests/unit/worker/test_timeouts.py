"""Time limits: each run has its own, although one timer serves them all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from worker.running.timeouts import LimitedRun, TimeLimit


async def limited(limit: TimeLimit, work: Coroutine[Any, Any, Any]) -> str:
    """How work ends under a limit."""
    run = LimitedRun(limit)
    try:
        with run:
            await work
    except TimeoutError as error:
        return f"{'too slow' if run.expired else 'its own'}: {error}"
    return "late" if run.expired else "done"


async def for_ever() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()


async def test_what_takes_too_long_is_stopped_and_nothing_else() -> None:
    """Runs that ended before, that began later or that have another limit are left alone."""
    short, long = TimeLimit(0.02), TimeLimit(60)
    let_go = asyncio.Event()
    patient = asyncio.create_task(limited(long, let_go.wait()))
    assert await limited(short, asyncio.sleep(0)) == "done"
    assert await limited(short, for_ever()) == "too slow: it took longer than 0.02 s"
    assert not patient.done()
    let_go.set()
    assert await patient == "done"


async def test_one_timer_serves_all_that_run() -> None:
    """Each run that does not end is stopped at its time and not before, whatever the order in which the others end."""
    limit = TimeLimit(0.03)
    loop = asyncio.get_running_loop()

    async def lasting(work: Coroutine[Any, Any, Any]) -> tuple[str, float]:
        began = loop.time()
        return (await limited(limit, work)).split(":")[0], loop.time() - began

    tasks = []
    for number in range(12):
        tasks.append(asyncio.create_task(lasting(for_ever() if number % 3 else asyncio.sleep(0.005))))
        await asyncio.sleep(0.004)
    ends = await asyncio.gather(*tasks)
    assert [how for how, _ in ends] == ["too slow" if number % 3 else "done" for number in range(12)]
    assert all(seconds >= 0.03 for how, seconds in ends if how == "too slow")


async def test_a_timer_that_has_fired_is_set_again() -> None:
    """A run that begins after the timer has fired gets a timer, also after a time in which nothing ran."""
    limit = TimeLimit(0.01)
    assert await limited(limit, asyncio.sleep(0)) == "done"
    await asyncio.sleep(0.02)
    assert await limited(limit, asyncio.sleep(0)) == "done"
    assert (await limited(limit, for_ever())).startswith("too slow")


async def test_a_time_limit_of_somebody_else_is_not_taken_for_this_one() -> None:
    """Of two limits around one piece of work, each raises for itself."""

    async def impatient() -> None:
        async with asyncio.timeout(0):
            await for_ever()

    assert await limited(TimeLimit(60), impatient()) == "its own: "


async def test_a_run_may_finish_what_it_does_when_it_is_stopped() -> None:
    """A run that ends well although it was cancelled is done, and its task is not left cancelled."""

    async def finish() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    assert await limited(TimeLimit(0.01), finish()) == "late"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_another_cancellation_is_not_lost() -> None:
    """A worker that stops cancels what runs, even at the moment at which its time is up."""
    limit = TimeLimit(0.01)
    entered = asyncio.Event()

    async def stubborn() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            entered.set()
            await for_ever()

    task = asyncio.create_task(limited(limit, stubborn()))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_one_limit_serves_one_loop_after_the_other() -> None:
    """A timer that was left in a loop that has ended is not waited for."""
    limit = TimeLimit(0.01)
    assert asyncio.run(limited(limit, asyncio.sleep(0))) == "done"
    assert asyncio.run(limited(limit, for_ever())).startswith("too slow")
