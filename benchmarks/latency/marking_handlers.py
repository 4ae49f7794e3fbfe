"""The handler of the latency measure, as users write it: typed, and it tells when it starts."""

from __future__ import annotations

from benchmarks.marks import mark
from handlers import Context, on
from konvox.events import ContactReplied


@on("contact.replied")
async def tell(event: ContactReplied, ctx: Context) -> None:
    """Tell that it has started."""
    del ctx
    assert event.data.contact_id is not None
    mark(event.data.contact_id)
