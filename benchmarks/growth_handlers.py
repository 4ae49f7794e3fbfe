"""The handlers of the growth measure: as many as `BENCHMARK_HANDLERS` says, each typed, and each does nothing."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from handlers import Context, on
from konvox.events import ContactReplied

HOW_MANY = "BENCHMARK_HANDLERS"


def _noop(name: str) -> Callable[[ContactReplied, Context], Awaitable[None]]:
    async def noop(event: ContactReplied, ctx: Context) -> None:
        """Do nothing."""

    noop.__name__ = noop.__qualname__ = name
    return on("contact.replied")(noop)


for _name in [f"noop_{number}" for number in range(int(os.environ.get(HOW_MANY, "1")))]:
    globals()[_name] = _noop(_name)
