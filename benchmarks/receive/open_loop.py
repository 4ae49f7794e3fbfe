"""The load generator that keeps to a rate, whether answers come or not: a process of its own.

Requests are due one by one at the rate. Each is sent when it is due, or as soon as a connection is free; its latency
counts from when it was due, so that a server that stalls is charged for all it keeps waiting. When its standard input
ends, it sends no more, and waits for the answers that are missing. With `--sent`, a file says when each was sent, in ns
of the clock of `benchmarks.marks`. See `benchmarks.receive.sending`.
"""

from __future__ import annotations

import selectors
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmarks.receive.sending import Connection, options_parser, print_outcome, warmed_up
from benchmarks.workload import contact_ids

_GIVE_UP_SECONDS = 30.0


def send_at(
    rate: float, connections: list[Connection], pending: Iterator[bytes], count: int, until_end_of: IO[str]
) -> tuple[array[float], array[int]]:
    """Send so many requests, each when it is due; or fewer, if that file ends meanwhile.

    Returns:
        The latencies in seconds, in the order of the answers; and when each request was sent, in ns.
    """
    free = deque(connections)
    due_at: dict[Connection, float] = {}
    latencies, sent_ns = array("d"), array("q")
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
        selector.register(until_end_of, selectors.EVENT_READ)
        start = time.perf_counter()
        while len(latencies) < count:
            now = time.perf_counter()
            while free and len(sent_ns) < count and (due := start + len(sent_ns) / rate) <= now:
                connection = free.popleft()
                due_at[connection] = due
                sent_ns.append(time.monotonic_ns())
                connection.send(next(pending))
            for key, _ in selector.select(_patience(start, rate, len(sent_ns), count, free)):
                if key.data is None:
                    selector.unregister(until_end_of)
                    count = len(sent_ns)
                elif key.data.receive() is not None:
                    latencies.append(time.perf_counter() - due_at.pop(key.data))
                    free.append(key.data)
            if time.perf_counter() - start > count / rate + _GIVE_UP_SECONDS:
                sys.exit(f"only {len(latencies)} of {count} were answered")
    return latencies, sent_ns


def _patience(start: float, rate: float, sent: int, count: int, free: deque[Connection]) -> float:
    """How long there is nothing to send."""
    if sent == count or not free:
        return 1.0
    return max(0.0, start + sent / rate - time.perf_counter())


def main() -> None:
    """Run one load."""
    parser = options_parser(__doc__)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--sent", type=Path)
    options = parser.parse_args()
    with warmed_up(options) as (connections, pending):
        cpu_before = time.process_time()
        latencies, sent_ns = send_at(options.rate, connections, pending, options.requests, sys.stdin)
        cpu_seconds = time.process_time() - cpu_before
    if options.sent is not None:
        lines = zip(contact_ids(options.requests, series=options.series), sent_ns, strict=False)
        options.sent.write_text("".join(f"{contact_id} {sent}\n" for contact_id, sent in lines))
    print_outcome(latencies, cpu_seconds)


if __name__ == "__main__":
    main()
