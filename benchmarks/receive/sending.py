"""What the load generators share: connections, and a life from the command line to the figures.

A generator makes and signs its requests, connects, warms up, says `ready`, waits for a line on its standard input,
sends while the clock runs, and prints what came out as one JSON object. No event loop and no HTTP library: the
machine's cores are for who is measured. Requests beyond the first 100,000 are made as they are sent, for a few µs each,
so that hours of load take hardly more memory than a minute of it.
"""

from __future__ import annotations

import argparse
import math
import re
import selectors
import socket
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice

import orjson

from benchmarks.figures import percentile
from benchmarks.workload import requests

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
_READ_BYTES = 4096
_OK = b"HTTP/1.1 200 "
_HEAD_END = b"\r\n\r\n"
_SELECT_SECONDS = 30.0
_MADE_BEFOREHAND = 100_000


class Connection:
    """One keep-alive connection with one request under way."""

    __slots__ = ("_received", "_sent_at", "_socket")

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._sent_at = 0.0

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def send(self, request: bytes) -> None:
        """Send the next request; it fits into the socket's buffer."""
        self._sent_at = time.perf_counter()
        self._socket.sendall(request)

    def receive(self) -> float | None:
        """Read what has come: seconds since the request if its answer is complete.

        Raises:
            SystemExit: the answer is not a 200, or the connection was closed.
        """
        piece = self._socket.recv(_READ_BYTES)
        answer = self._received + piece if self._received else piece
        if len(answer) < self._length_of(answer):
            if not piece:
                sys.exit("the server closed a connection")
            self._received = answer
            return None
        self._received = b""
        return time.perf_counter() - self._sent_at

    def _length_of(self, answer: bytes) -> float:
        head_end = answer.find(_HEAD_END)
        if head_end < 0:
            return math.inf
        length = _LENGTH.search(answer, 0, head_end)
        if length is None or not answer.startswith(_OK):
            sys.exit(f"not a 200 with Content-Length: {answer[:200]!r}")
        return head_end + len(_HEAD_END) + int(length[1])

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def send_all(connections: list[Connection], pending: Iterator[bytes]) -> array[float]:
    """Send every pending request, keeping each connection busy; returns the latencies in seconds."""
    latencies = array("d")
    with selectors.DefaultSelector() as selector:
        under_way = 0
        for connection, request in zip(connections, pending, strict=False):
            selector.register(connection, selectors.EVENT_READ, connection)
            connection.send(request)
            under_way += 1
        while under_way:
            events = selector.select(_SELECT_SECONDS)
            if not events:
                sys.exit(f"no answer within {_SELECT_SECONDS:g} s")
            for key, _ in events:
                latency = key.data.receive()
                if latency is None:
                    continue
                latencies.append(latency)
                request = next(pending, None)
                if request is None:
                    selector.unregister(key.data)
                    under_way -= 1
                else:
                    key.data.send(request)
    return latencies


def options_parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that every generator takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--padding-bytes", type=int, default=0, help="makes its events larger")
    parser.add_argument("--series", default="", help="tells its events from those of another generator")
    return parser


@contextmanager
def warmed_up(options: argparse.Namespace) -> Iterator[tuple[list[Connection], Iterator[bytes]]]:
    """Get ready, and wait for the word; yields the connections and what to send on them."""
    made = partial(requests, port=options.port, padding_bytes=options.padding_bytes)
    warm_up = made(options.warm_up, series=f"warmup{options.series}")
    pending = made(options.requests, series=options.series)
    beforehand = list(islice(pending, _MADE_BEFOREHAND))
    connections = [Connection(options.port) for _ in range(options.connections)]
    send_all(connections, warm_up)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        yield connections, chain(beforehand, pending)
    finally:
        for connection in connections:
            connection.close()


def print_outcome(latencies: Sequence[float], cpu_seconds: float, **more: float) -> None:
    """Say what came out."""
    ordered = sorted(latencies)
    outcome = {
        "answered": len(ordered),
        **more,
        "p50_ms": percentile(ordered, 50) * 1000,
        "p99_ms": percentile(ordered, 99) * 1000,
        "max_ms": ordered[-1] * 1000,
        "generator_cpu_seconds": cpu_seconds,
    }
    print(orjson.dumps(outcome).decode(), flush=True)
