"""The load generator, a program of its own: keeps N connections busy, or keeps to a rate, as cheaply as Python can.

Its argument is a JSON object with the parameters of `main`. It makes and signs its requests, connects, warms up, prints
`ready`, waits for SIGUSR1, sends, and prints its outcome as JSON. No event loop and no HTTP library: the machine's
cores are for the contenders. Requests beyond the first 100,000 are made as they are sent, for a few µs each.

Without a rate (closed loop) each connection sends its next request when the last one was answered. At a rate (open
loop) requests are due one by one. Each is sent when it is due, or as soon as a connection is free, and its latency
counts from when it was due: a server that stalls is charged for all requests that it keeps waiting. At SIGUSR2 the open
loop sends no more, and waits for the missing answers.
"""

from __future__ import annotations

import math
import re
import selectors
import signal
import socket
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import orjson

from benchmarks.harness.figures import percentile
from benchmarks.harness.workload import contact_ids, signed_requests

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
_HEAD_END = b"\r\n\r\n"
_GIVE_UP_SECONDS = 30.0
_MADE_BEFOREHAND = 100_000
_ENOUGH = threading.Event()


class Connection:
    """One keep-alive connection. The latency of its request counts from `since_ns`."""

    __slots__ = ("_received", "since_ns", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.since_ns = 0

    def send(self, request: bytes, since_ns: int) -> None:
        """Send the next request; it fits into the socket's buffer."""
        self.since_ns = since_ns
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Read what has come; says whether the answer is complete. Ends the program if it is not a 200."""
        piece = self.socket.recv(4096)
        answer = self._received + piece if self._received else piece
        if len(answer) >= _length_of(answer):
            self._received = b""
            return True
        if not piece:
            sys.exit("the server closed a connection")
        self._received = answer
        return False


def _length_of(answer: bytes) -> float:
    head_end = answer.find(_HEAD_END)
    if head_end < 0:
        return math.inf
    length = _LENGTH.search(answer, 0, head_end)
    if length is None or not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"not a 200 with Content-Length: {answer[:200]!r}")
    return head_end + len(_HEAD_END) + int(length[1])


def send_all(connections: list[Connection], pending: Iterator[bytes]) -> array[int]:
    """The closed loop. Returns the latencies in ns."""
    latencies_ns, now_ns = array("q"), time.monotonic_ns
    with selectors.DefaultSelector() as selector:
        for connection, request in zip(connections, pending, strict=False):
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request, now_ns())
        while selector.get_map():
            ready = selector.select(_GIVE_UP_SECONDS)
            if not ready:
                sys.exit(f"no answer within {_GIVE_UP_SECONDS:g} s")
            for key, _ in ready:
                connection = key.data
                if connection.answered():
                    latencies_ns.append(now_ns() - connection.since_ns)
                    following = next(pending, None)
                    if following is None:
                        selector.unregister(connection.socket)
                    else:
                        connection.send(following, now_ns())
    return latencies_ns


def send_at(
    rate: float, connections: list[Connection], pending: Iterator[bytes], count: int
) -> tuple[array[int], array[int]]:
    """The open loop. Returns the latencies in ns, in the order of the answers, and when each request was sent."""
    free, interval_ns = deque(connections), 1e9 / rate
    latencies_ns, sent_ns = array("q"), array("q")
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        start_ns = now_ns = time.monotonic_ns()
        while len(latencies_ns) < count:
            due_ns = start_ns + int(len(sent_ns) * interval_ns)
            if free and len(sent_ns) < count and due_ns <= now_ns:
                sent_ns.append(time.monotonic_ns())
                free.popleft().send(next(pending), due_ns)
                continue
            waits = len(sent_ns) == count or not free
            for key, _ in selector.select(1.0 if waits else (due_ns - time.monotonic_ns()) / 1e9):
                if key.data.answered():
                    latencies_ns.append(time.monotonic_ns() - key.data.since_ns)
                    free.append(key.data)
            if _ENOUGH.is_set():
                count = len(sent_ns)
            now_ns = time.monotonic_ns()
            if now_ns - start_ns > count * interval_ns + _GIVE_UP_SECONDS * 1e9:
                sys.exit(f"only {len(latencies_ns)} of {count} were answered")
    return latencies_ns, sent_ns


def main(
    *,
    port: int,
    connections: int,
    requests: int,
    warm_up: int,
    rate: float | None = None,
    padding_bytes: int = 0,
    series: str = "",
    sent: str | None = None,
) -> None:
    """Run one load; `sent` is a file for when each request was sent (see `read_marks`)."""
    made = partial(signed_requests, port=port, padding_bytes=padding_bytes)
    later = made(requests, series=series)
    pending = chain(list(islice(later, _MADE_BEFOREHAND)), later)
    opened = [Connection(port) for _ in range(connections)]
    send_all(opened, made(warm_up, series=f"warmup{series}"))
    signal.signal(signal.SIGUSR2, lambda *_: _ENOUGH.set())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print("ready", flush=True)
    signal.sigwait([signal.SIGUSR1])
    cpu_before, before = time.process_time(), time.perf_counter()
    if rate is None:
        latencies_ns, sent_ns = send_all(opened, pending), array("q")
    else:
        latencies_ns, sent_ns = send_at(rate, opened, pending, requests)
    seconds, cpu_seconds = time.perf_counter() - before, time.process_time() - cpu_before
    if sent is not None:
        lines = zip(contact_ids(requests, series=series), sent_ns, strict=False)
        Path(sent).write_text("".join(f"{contact_id} {at_ns}\n" for contact_id, at_ns in lines))
    ordered = sorted(latencies_ns)
    latencies_ms = {f"p{percent}_ms": percentile(ordered, percent) / 1e6 for percent in (50, 99)}
    outcome = {**latencies_ms, "max_ms": ordered[-1] / 1e6, "answered": len(ordered), "seconds": seconds}
    print(orjson.dumps({**outcome, "generator_cpu_seconds": cpu_seconds}).decode(), flush=True)


if __name__ == "__main__":
    main(**orjson.loads(sys.argv[1]))
