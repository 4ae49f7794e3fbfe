"""What users plug in: functions that run on Konvox's events.

Users import these names from `konvox_hooks`, the event models from `konvox_hooks.events` and the test kit from
`konvox_hooks.testing`; `from handlers import …` works as well. They name their module or file in `KONVOX_HANDLERS`.
`handlers.log` and `handlers.slack` come with the product, and are models to copy.

The worker runs what the loader finds. This package knows neither the worker nor the broker.
"""

from __future__ import annotations

from handlers.context import Context
from handlers.decorator import on
from handlers.errors import Drop, Retry

__all__ = ["Context", "Drop", "Retry", "on"]
