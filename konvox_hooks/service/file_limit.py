"""The limit on open files, which includes connections. The receiver raises it when it starts."""

from __future__ import annotations

import resource

from receiver.listener import MOST_CONNECTIONS

OTHER_FILES = 200
"""The files that a receiver needs besides senders' connections: Redis, the spool, libraries."""


def allow_connections() -> int:
    """Raise the limit as far as needed and allowed; returns how many connections then fit.

    Many systems allow 1,024 open files until the process asks for more.
    """
    wanted = MOST_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MOST_CONNECTIONS, soft - OTHER_FILES))
