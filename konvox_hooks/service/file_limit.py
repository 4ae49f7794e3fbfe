"""The limit on open files, which includes connections. The receiver raises it when it starts."""

from __future__ import annotations

import resource

from receiver.listener import BACKLOG_DIVISOR, MOST_CONNECTIONS

OTHER_FILES = 200
"""The files that a receiver needs besides senders' connections: Redis, the spool, libraries."""


def allow_connections() -> int:
    """Raise the limit as far as needed and allowed; returns how many connections then fit.

    Many systems allow 1,024 open files until the process asks for more. When all connections are open, further ones are
    accepted before older ones make room for them, and so need files too.
    """
    wanted = MOST_CONNECTIONS + MOST_CONNECTIONS // BACKLOG_DIVISOR + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = (soft - OTHER_FILES) * BACKLOG_DIVISOR // (BACKLOG_DIVISOR + 1)
    return max(1, min(MOST_CONNECTIONS, room))
