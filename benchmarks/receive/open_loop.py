"""The load generator that keeps to a rate, whether answers come or not: a process of its own.

Requests are due one by one at the rate. Each is sent when it is due, or as soon as a connection is free; its latency
counts from when it was due, so that a server that stalls is charged for all it keeps waiting. With `--sent`, a file
says when each was sent, in ns of the clock of `benchmarks.marks`. Warms up and talks as `benchmarks.receive.load` does.
"""

from __future__ import annotations

import argparse
import selectors
import sys
import time
from collections import deque
from pathlib import Path

import orjson

from benchmarks.figures import percentile
from benchmarks.receive.load import Connection, send_all
from benchmarks.workload import contact_ids, requests

_GIVE_UP_SECONDS = 30.0


def send_at(rate: float, connections: list[Connection], pending: list[bytes]) -> tuple[list[float], list[int]]:
    """Send each request when it is due.

    Returns:
        The latencies in seconds, in the order of the answers; and when each request was sent, in ns.
    """
    free = deque(connections)
    due_at: dict[Connection, float] = {}
    latencies: list[float] = []
    sent_ns: list[int] = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
        start = time.perf_counter()
        while len(latencies) < len(pending):
            now = time.perf_counter()
            while free and len(sent_ns) < len(pending) and (due := start + len(sent_ns) / rate) <= now:
                connection = free.popleft()
                due_at[connection] = due
                sent_ns.append(time.monotonic_ns())
                connection.send(pending[len(sent_ns) - 1])
            for key, _ in selector.select(_patience(start, rate, len(sent_ns), len(pending), free)):
                if key.data.receive() is not None:
                    latencies.append(time.perf_counter() - due_at.pop(key.data))
                    free.append(key.data)
            if time.perf_counter() - start > len(pending) / rate + _GIVE_UP_SECONDS:
                sys.exit(f"only {len(latencies)} of {len(pending)} were answered")
    return latencies, sent_ns


def _patience(start: float, rate: float, sent: int, count: int, free: deque[Connection]) -> float:
    """How long there is nothing to send."""
    if sent == count or not free:
        return 1.0
    return max(0.0, start + sent / rate - time.perf_counter())


def main() -> None:
    """Run one load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--sent", type=Path)
    options = parser.parse_args()
    warm_up = requests(options.warm_up, port=options.port, series="warmup")
    measured = requests(options.requests, port=options.port)
    connections = [Connection(options.port) for _ in range(options.connections)]
    send_all(connections, iter(warm_up))
    print("ready", flush=True)
    sys.stdin.readline()

    cpu_before = time.process_time()
    latencies, sent_ns = send_at(options.rate, connections, measured)
    cpu_seconds = time.process_time() - cpu_before
    latencies.sort()
    for connection in connections:
        connection.close()
    if options.sent is not None:
        lines = zip(contact_ids(options.requests), sent_ns, strict=True)
        options.sent.write_text("".join(f"{contact_id} {sent}\n" for contact_id, sent in lines))
    outcome = {
        "answered": len(latencies),
        "p50_ms": percentile(latencies, 50) * 1000,
        "p99_ms": percentile(latencies, 99) * 1000,
        "max_ms": latencies[-1] * 1000,
        "generator_cpu_seconds": cpu_seconds,
    }
    print(orjson.dumps(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()
