"""The handlers of our worker, typed as users write them. BENCH_HANDLER says which one, BENCH_HANDLER_COUNT how many.

`noop` does nothing, `mark` writes down that it starts, `hang` does so and does not end, `compute` takes 0.2 ms of CPU.
"""

import asyncio
import os
import time

from benchmarks.harness.workload import mark
from handlers import Context, on
from konvox.events import ContactReplied


async def mark_start(event: ContactReplied, ctx: Context) -> None:
    """Write down that it has started."""
    del ctx
    mark(event.data.contact_id)


async def hang(event: ContactReplied, ctx: Context) -> None:
    """Write down that it has started, and do not end."""
    await mark_start(event, ctx)
    await asyncio.Event().wait()


async def compute(event: ContactReplied, ctx: Context) -> None:
    """Use the CPU for as long as it costs."""
    del event, ctx
    until_ns = time.thread_time_ns() + 200_000
    while time.thread_time_ns() < until_ns:
        pass


_name = os.environ.get("BENCH_HANDLER", "noop")
for _number in range(int(os.environ.get("BENCH_HANDLER_COUNT", "1"))):

    async def noop(event: ContactReplied, ctx: Context) -> None:
        """Do nothing."""

    noop.__name__ = noop.__qualname__ = f"noop_{_number}"
    _handlers = {"noop": noop, "mark": mark_start, "hang": hang, "compute": compute}
    globals()[f"handler_{_number}"] = on("contact.replied")(_handlers[_name])
