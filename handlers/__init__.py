"""What users plug in: functions that run on Konvox's events.

```python
from handlers import Context, on
from konvox.events import ContactReplied


@on("contact.replied")
async def tell_sales(event: ContactReplied, ctx: Context) -> None:
    ctx.log.info("a reply came", campaign_id=event.data.campaign_id)
```

Name the module or file in `KONVOX_HANDLERS`. `handlers.log` and `handlers.slack` are small models to copy, and
`handlers.testkit` helps with tests. The worker runs what is loaded here; this package knows neither the worker nor the
broker.
"""

from __future__ import annotations

from handlers.context import Context
from handlers.decorator import on
from handlers.errors import Drop, Retry

__all__ = ["Context", "Drop", "Retry", "on"]
