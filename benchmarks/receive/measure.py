"""Take one sample of one receiver: a fresh store, a fresh process, one load."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson

from benchmarks.figures import Sample
from benchmarks.machine import busy_seconds
from benchmarks.processes import ROOT, Measured, NotMeasuredError, free_port, python, running
from benchmarks.receive.contender import Receiver
from benchmarks.store import Store, fresh_store

CONNECTIONS = 64
REQUESTS = 30_000
QUICK_REQUESTS = 6_000
WARM_UP_REQUESTS = 2_000
LONGEST_SECONDS = 120.0


async def measure(receiver: Receiver, *, requests: int, folder: Path) -> Sample:
    """POSTs a second, latency and CPU time of one receiver process.

    Raises:
        NotMeasuredError: not every request was answered with 200, or not every event is in the store.
    """
    async with fresh_store(folder) as store:
        port = free_port()
        async with running(receiver.command, receiver.environment(port, store.url), folder) as process:
            await process.listening(port)
            sample = await _under_load(process, store, port, requests)
            stored = None if receiver.stored is None else await receiver.stored(store.client)
    if stored not in {None, requests + WARM_UP_REQUESTS}:
        raise NotMeasuredError(f"{receiver.name}: {requests + WARM_UP_REQUESTS} were answered, {stored} are stored")
    return sample


async def _under_load(process: Measured, store: Store, port: int, requests: int) -> Sample:
    generator = await asyncio.create_subprocess_exec(
        *python("benchmarks.receive.load", "--port", str(port), "--connections", str(CONNECTIONS)),
        *("--requests", str(requests), "--warm-up", str(WARM_UP_REQUESTS)),
        cwd=ROOT,
        env=dict(os.environ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert generator.stdin is not None
    assert generator.stdout is not None
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            await generator.stdout.readline()
            busy_before = busy_seconds()
            cpu_before, store_cpu_before = process.cpu_seconds(), await store.cpu_seconds()
            generator.stdin.write(b"go\n")
            line = await generator.stdout.readline()
            cpu, store_cpu = process.cpu_seconds() - cpu_before, await store.cpu_seconds() - store_cpu_before
            busy = busy_seconds() - busy_before
            await generator.wait()
    finally:
        if generator.returncode is None:
            generator.kill()
            await generator.wait()
    if generator.returncode != 0:
        process.check()
        raise NotMeasuredError("the load generator gave up, see above")
    outcome = orjson.loads(line)
    per_1000 = 1000 / requests
    return Sample(
        count=requests,
        rate=requests / outcome["seconds"],
        cpu_seconds_per_1000=cpu * per_1000,
        more={
            "p50_ms": outcome["p50_ms"],
            "p99_ms": outcome["p99_ms"],
            "max_ms": outcome["max_ms"],
            "store_cpu_seconds_per_1000": store_cpu * per_1000,
            "generator_cpu_seconds_per_1000": outcome["generator_cpu_seconds"] * per_1000,
            "cores_busy_elsewhere": max(0.0, busy - cpu - store_cpu - outcome["generator_cpu_seconds"])
            / outcome["seconds"],
        },
    )
