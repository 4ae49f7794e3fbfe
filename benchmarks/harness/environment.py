"""The circumstances without which a figure means nothing: when, on which machine, with which versions."""

import os
import platform
import re
import statistics
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.harness.store import fresh_store

_PACKAGES = ("konvox-hooks", "aiohttp", "arq", "redis", "hiredis", "pydantic", "orjson", "uvloop")
_FSYNCS = 100


async def describe(folder: Path, *, peers: str = "") -> dict[str, str]:
    """The circumstances of this run, by name. The stores' data lie below the folder."""
    async with fresh_store(folder) as store:
        valkey, redis = await store.info("valkey_version"), await store.info("redis_version")
    server = f"valkey {valkey}" if valkey else f"redis {redis}"
    circumstances = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {round(psutil.virtual_memory().total / 2**30)} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{_fsync_ms(folder):.2f} ms for an fsync of 4 KiB (median of {_FSYNCS})",
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        "store": f"{server}, appendonly yes, appendfsync always, loopback TCP, a fresh one for each sample",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }
    return {**circumstances, "peers": peers} if peers else circumstances


def _fsync_ms(folder: Path) -> float:
    """How long the disk takes to keep 4 KiB: the least that a durable answer can take."""
    durations = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            file.write(bytes(4096))
            before = time.perf_counter()
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - before)
    return statistics.median(durations) * 1000


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpu_info.read_text()) if cpu_info.exists() else None
    return model[1] if model else platform.processor() or platform.machine()
