"""Brings the peers into `benchmarks/.peers`, each into a folder of its own, by package name and exact version.

What is there already is used again. A peer that cannot be installed on this machine is skipped, with a word about why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PEERS = Path(__file__).parent.parent / ".peers"
NODE_MODULES = PEERS / "node" / "node_modules"
NEEDED_BY_OUR_MODEL = tuple(f"{name}=={version(name)}" for name in ("pydantic", "orjson"))
AIOHTTP = f"aiohttp=={version('aiohttp')}"

_READY = "installed.txt"
_INSTALL_SECONDS = 300.0


class NotInstalledError(Exception):
    """A peer cannot be had on this machine; the message is a clause that says why."""


@dataclass(frozen=True, slots=True)
class NodePeer:
    """Packages for Node, installed together."""

    packages: tuple[str, ...]

    def install(self, folder: Path) -> None:
        """Install them into `node_modules`, without scripts, and without a lock file: the versions are exact."""
        missing = [program for program in ("node", "npm") if shutil.which(program) is None]
        if missing:
            raise NotInstalledError(f"there is no {' and no '.join(missing)} on this machine")
        dependencies = dict(package.rsplit("@", 1) for package in self.packages)
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": dependencies}))
        _run(
            ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"),
            folder,
        )


@dataclass(frozen=True, slots=True)
class PythonPeer:
    """Packages for Python, in a virtual environment of their own."""

    packages: tuple[str, ...]

    def install(self, folder: Path) -> None:
        """Make the environment."""
        _run((sys.executable, "-m", "venv", "."), folder)
        packages = (*self.packages, *NEEDED_BY_OUR_MODEL)
        _run(("bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages), folder)


PACKAGES: dict[str, NodePeer | PythonPeer] = {
    "node": NodePeer(("bullmq@6.7.0", "fastify@5.12.8", "ioredis@6.0.0")),
    "dramatiq": PythonPeer(("dramatiq[redis]==2.2.1",)),
    "taskiq": PythonPeer(("taskiq==0.13.0", "taskiq-redis==1.2.4")),
    "saq": PythonPeer(("saq[redis]==0.26.4", AIOHTTP)),
    "streaq": PythonPeer(("streaq==7.2.0", AIOHTTP)),
}
"""What each peer consists of."""


def ensure(name: str) -> None:
    """Install a peer, unless it is there already in just these versions.

    Raises:
        NotInstalledError: it cannot be had.
    """
    peer, folder = PACKAGES[name], PEERS / name
    wanted = "\n".join((*peer.packages, sys.version))
    ready = folder / _READY
    if ready.exists() and ready.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    peer.install(folder)
    ready.write_text(wanted)


def python_of(name: str) -> str:
    """The interpreter of a peer for Python, whether it is installed yet or not."""
    return str(PEERS / name / "bin" / "python")


def node_program(name: str) -> tuple[str, ...]:
    """The command that runs one of our programs for Node."""
    return ("node", str(Path(__file__).parent / name))


def versions(names: Sequence[str]) -> str:
    """The packages of these peers, for the record; their aiohttp is ours."""
    return ", ".join(sorted({package for name in names for package in PACKAGES[name].packages} - {AIOHTTP}))


def _run(command: Sequence[str], folder: Path) -> None:
    log = folder / "install.log"
    with log.open("ab") as output:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_INSTALL_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalledError(f"it could not be installed ({type(error).__name__})") from error
    if done.returncode != 0:
        raise NotInstalledError(f"it could not be installed, see {log.relative_to(PEERS.parent.parent)}")
