"""The handler of the rerun measure: tells that it starts, and in the worker that will be killed, does not end."""

from __future__ import annotations

import asyncio
import os

from benchmarks.marks import mark
from handlers import Context, on
from konvox.events import ContactReplied


@on("contact.replied")
async def tell(event: ContactReplied, ctx: Context) -> None:
    """Tell that it has started, and maybe stay."""
    del ctx
    assert event.data.contact_id is not None
    mark(event.data.contact_id)
    if os.environ.get("HANG"):
        await asyncio.Event().wait()
