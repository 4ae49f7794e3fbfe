"""For users' own tests of their handlers: events and a context, without a server. All of it is `handlers.testkit`.

```python
from konvox_hooks.testing import make_context, make_event


async def test_a_reply_is_logged() -> None:
    ctx = make_context()
    await tell_sales(make_event("contact.replied", {"subject": "Yes, please"}), ctx)
    assert ctx.logged[0]["event"] == "a reply came"
```
"""

from __future__ import annotations

from handlers.testkit import (
    SAMPLE_TIMESTAMP,
    CapturedContext,
    EventFields,
    make_context,
    make_event,
    make_plain_event,
)

__all__ = [
    "SAMPLE_TIMESTAMP",
    "CapturedContext",
    "EventFields",
    "make_context",
    "make_event",
    "make_plain_event",
]
