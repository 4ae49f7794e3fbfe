"""A real Valkey for tests: shared by a test process, or for a test that breaks it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from broker.redis.embedded import server_binary

_START_SECONDS = 20.0


class ValkeyServer:
    """A Valkey on a Unix socket in a folder, with AOF and `appendfsync always`.

    Args:
        folder: where its socket, its log and its data are.
        databases: how many key spaces it has.
        settings: further settings, or others instead of the usual ones.
    """

    def __init__(self, folder: Path, *, databases: str = "16", **settings: str) -> None:
        self.folder = folder
        self._settings = {
            "port": "0",
            "unixsocket": str(folder / "v.sock"),
            "databases": databases,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, *, database: int = 0) -> str:
        """The URL of one of its key spaces."""
        return f"unix://{self.folder}/v.sock?db={database}"

    def start(self) -> None:
        """Start it with its earlier data, and wait until it answers."""
        arguments = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        with (self.folder / "valkey.log").open("ab") as log:
            # Signals as Python has them: a write beyond RLIMIT_FSIZE is to fail, rather than to end the process.
            self.process = subprocess.Popen(
                [server_binary(), *arguments], cwd=self.folder, stdout=log, stderr=log, restore_signals=False
            )
        deadline = time.monotonic() + _START_SECONDS
        with redis.Redis.from_url(self.url()) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    assert time.monotonic() < deadline, (self.folder / "valkey.log").read_text()
                    time.sleep(0.01)  # a socket that does not exist yet cannot be waited for
                else:
                    return

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
