"""Brings the peers into `benchmarks/.peers`, each into a folder of its own, by package name and exact version.

A peer that is there already is used again. One that cannot be installed on this machine is left out of the table.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path

PEERS = Path(__file__).parents[1] / ".peers"
NODE_MODULES = PEERS / "node" / "node_modules"

_AIOHTTP, *_NEEDED_BY_OUR_MODEL = (f"{name}=={version(name)}" for name in ("aiohttp", "pydantic", "orjson"))
_PACKAGES: dict[str, tuple[str, ...]] = {
    "node": ("bullmq@6.7.0", "fastify@5.12.8", "ioredis@6.0.0"),
    "dramatiq": ("dramatiq[redis]==2.2.1",),
    "taskiq": ("taskiq==0.13.0", "taskiq-redis==1.2.4"),
    "saq": ("saq[redis]==0.26.4", _AIOHTTP),
    "streaq": ("streaq==7.2.0", _AIOHTTP),
}
"""What each peer consists of: those for Node together, each of those for Python in a virtual environment."""


class NotInstalledError(Exception):
    """A peer cannot be installed on this machine; the message is a clause that says why."""


def ensure(name: str) -> None:
    """Install a peer, unless it is there already in exactly these versions; NotInstalledError if that cannot be."""
    packages, folder = _PACKAGES[name], PEERS / name
    wanted, ready = "\n".join((*packages, sys.version)), folder / "installed.txt"
    if ready.exists() and ready.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name == "node":
        _install_for_node(packages, folder)
    else:
        _run((sys.executable, "-m", "venv", "."), folder)
        pip = ("bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run((*pip, *packages, *_NEEDED_BY_OUR_MODEL), folder)
    ready.write_text(wanted)


def python_of(name: str) -> str:
    """The interpreter of a peer for Python, whether it is installed yet or not."""
    return str(PEERS / name / "bin" / "python")


def versions(names: Collection[str]) -> str:
    """Node's version and the packages of these peers, for the record; their aiohttp is ours."""
    node = subprocess.check_output(("node", "--version"), text=True).strip() if "node" in names else "none"
    packages = sorted({package for name in names for package in _PACKAGES[name]} - {_AIOHTTP})
    return f"Node {node}; {', '.join(packages)}" if names else ""


def _install_for_node(packages: Sequence[str], folder: Path) -> None:
    """Install without scripts, and without a lock file: the versions are exact."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        raise NotInstalledError(f"there is no {' and no '.join(missing)} on this machine")
    dependencies = dict(package.rsplit("@", 1) for package in packages)
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": dependencies}))
    flags = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
    _run(("npm", "install", *flags), folder)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"it could not be installed ({type(error).__name__})") from error
    if done.returncode != 0:
        raise NotInstalledError(f"it could not be installed: {done.stderr.strip().rpartition(os.linesep)[2]}")
