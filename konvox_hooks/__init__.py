"""konvox-hooks: the application, and all that users import to write handlers.

```python
from konvox_hooks import Context, on
from konvox_hooks.events import ContactReplied


@on("contact.replied")
async def tell_sales(event: ContactReplied, ctx: Context) -> None:
    ctx.log.info("a reply came", campaign_id=event.data.campaign_id)
```

`konvox_hooks.events` has the event models, `konvox_hooks.testing` the test kit. All else here is the command line and
the service. This package may import every other package of ours, and none of them imports this one.

A name is imported when it is first asked for, so that `konvox-hooks --help` does not wait for pydantic.
"""

from __future__ import annotations

import sys

# `python -m konvox_hooks` puts the working directory first on the path, and a user's `worker.py` or `redis.py` there
# would be executed in the place of ours. It goes before anything is imported. While this file runs, `sys.argv[0]` is
# still `-m`; the name after it tells `python -m konvox_hooks` from a user's `python -m theirs` that imports us.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in {__name__, f"-m{__name__}"} and not sys.flags.safe_path:
    del sys.path[0]

from importlib import import_module
from typing import TYPE_CHECKING

from konvox_hooks.shadowing import HANDLERS_NEED, ONLY_COMMANDS_NEED, check_visible, warn_of_hidden

if TYPE_CHECKING:
    from handlers import Context, Drop, Retry, on

__all__ = ["Context", "Drop", "Retry", "on"]

check_visible(*HANDLERS_NEED)

if not TYPE_CHECKING:  # type checkers would take any name for one that is here

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warn_of_hidden(*ONLY_COMMANDS_NEED)  # not above: the command line says more, and ends
        globals()[name] = value = getattr(import_module("handlers"), name)
        return value
