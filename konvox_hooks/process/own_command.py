"""How a command of ours is started as a process. Used by the supervisor, the demo and the tests. Pure.

With `-m` alone Python looks for modules in the working directory first. A user's `worker.py` or `redis.py` there would
be executed in the place of the module that we mean, and the process would die. `-P` leaves that directory out.
"""

from __future__ import annotations

import sys


def own_command(*arguments: str) -> tuple[str, ...]:
    """The command line that runs `konvox-hooks` with these arguments, in the Python that runs this."""
    return (sys.executable, "-P", "-m", "konvox_hooks", *arguments)
