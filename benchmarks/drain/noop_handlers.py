"""The handler of the drain measure, as users write it: typed, and it does nothing."""

from __future__ import annotations

from handlers import Context, on
from konvox.events import ContactReplied


@on("contact.replied")
async def noop(event: ContactReplied, ctx: Context) -> None:
    """Do nothing."""
