"""Stock arq's worker as it comes, with a function that validates the event and tells when it starts."""

from __future__ import annotations

import os
from typing import Any

import arq

from benchmarks.marks import mark
from benchmarks.store import arq_settings
from konvox.events import ContactReplied


async def handle_event(ctx: dict[str, Any], event: dict[str, Any]) -> None:
    """Tell that the handler of a typed event has started."""
    del ctx
    contact_id = ContactReplied.model_validate(event).data.contact_id
    assert contact_id is not None
    mark(contact_id)


if __name__ == "__main__":
    arq.Worker(functions=[handle_event], redis_settings=arq_settings(os.environ["STORE_URL"])).run()
