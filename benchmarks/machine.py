"""What a figure means nothing without: when, on which machine, with which versions."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

_PACKAGES = ("konvox-hooks", "aiohttp", "arq", "redis", "hiredis", "pydantic", "orjson", "uvloop")
_FSYNCS = 100


def describe(store_version: str, folder: Path, peers: str) -> dict[str, str]:
    """The circumstances of this run, by name; the store's data lie below `folder`."""
    circumstances = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {round(psutil.virtual_memory().total / 2**30)} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{fsync_ms(folder):.2f} ms for an fsync of 4 KiB (median of {_FSYNCS})",
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "Python": sys.version.split()[0],
        "store": f"{store_version}, appendonly yes, appendfsync always, loopback TCP, a fresh one for each sample",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }
    return {**circumstances, "peers": f"Node {_node()}; {peers}"} if peers else circumstances


def busy_seconds() -> float:
    """The CPU time that everything on this machine has used since its start, on all cores together."""
    times = psutil.cpu_times()
    return float(sum(times)) - float(times.idle) - float(getattr(times, "iowait", 0.0))


def fsync_ms(folder: Path) -> float:
    """How long the disk takes to keep 4 KiB: the least that a durable answer can take."""
    durations = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            file.write(bytes(4096))
            before = time.perf_counter()
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - before)
    return statistics.median(durations) * 1000


def _node() -> str:
    node = shutil.which("node")
    return (
        subprocess.run((node, "--version"), capture_output=True, text=True, check=True).stdout.strip()
        if node
        else "none"
    )


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
