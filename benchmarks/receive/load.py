"""The load generator that keeps N connections busy, as cheaply as Python can: a process of its own.

Each connection sends its next request when the last one was answered (closed loop). See `benchmarks.receive.sending`.
"""

from __future__ import annotations

import time

from benchmarks.receive.sending import options_parser, print_outcome, send_all, warmed_up


def main() -> None:
    """Run one load."""
    options = options_parser(__doc__).parse_args()
    with warmed_up(options) as (connections, pending):
        cpu_before, before = time.process_time(), time.perf_counter()
        latencies = send_all(connections, pending)
        seconds, cpu_seconds = time.perf_counter() - before, time.process_time() - cpu_before
    print_outcome(latencies, cpu_seconds, seconds=seconds)


if __name__ == "__main__":
    main()
