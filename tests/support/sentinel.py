"""A real Sentinel set-up: a master, a replica and three sentinels, on TCP ports of this machine."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from broker.redis.embedded import server_binary
from tests.support.valkey import ValkeyServer

MASTER = "events"
PASSWORD = "s@ntinels:only"
"""Of the sentinels; with characters that must be percent-encoded in a URL."""

_READY_SECONDS = 20.0
_HOST = "127.0.0.1"


class SentinelSet:
    """Two servers and three sentinels that fail over fast.

    Args:
        folder: where they keep what they have.
        settings: further settings of both servers.

    Attributes:
        servers: the two servers by port.
        sentinels: the processes of the sentinels.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        # Sentinels and servers tell each other where they are, so the ports must be known beforehand.
        self._first_port, self._second_port, *self.sentinel_ports = _free_ports(5)
        ports = (self._first_port, self._second_port)
        self.servers = {port: self._server(port, settings) for port in ports}
        self.sentinels: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()

    def url(self, *, master: str = MASTER) -> str:
        """The URL for clients."""
        places = ",".join(f"{_HOST}:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://{places}/{master}?sentinel_password=s%40ntinels%3Aonly"

    def master_port(self) -> int:
        """The port of the master, according to the first sentinel."""
        with self.sentinel() as sentinel:
            return int(sentinel.sentinel_master(MASTER)["port"])

    def sentinel(self) -> Any:
        """A client of the first sentinel."""
        return redis.Redis(host=_HOST, port=self.sentinel_ports[0], password=PASSWORD)

    def sentinel_url(self) -> str:
        """The URL of the first sentinel, for other clients."""
        return f"redis://:s%40ntinels%3Aonly@{_HOST}:{self.sentinel_ports[0]}"

    def start_as_replica(self, port: int, *, of: int) -> None:
        """Start a killed server again, as a replica of the other one."""
        self.servers[port].start()
        self._follow(port, of)

    def swap(self) -> None:
        """Exchange the roles of the two servers, without Sentinel and without dropping clients."""
        old = self.master_port()
        (new,) = set(self.servers) - {old}
        with redis.Redis(host=_HOST, port=new) as client:
            client.replicaof("NO", "ONE")
        for port in self.sentinel_ports:
            with redis.Redis(host=_HOST, port=port, password=PASSWORD) as client:
                sentinel: Any = client
                sentinel.execute_command("SENTINEL", "REMOVE", MASTER)
                sentinel.execute_command("SENTINEL", "MONITOR", MASTER, _HOST, new, 2)
        self._follow(old, new)

    def drop_clients(self, port: int) -> None:
        """Drop a server's clients, as Sentinel does with a new replica; clients that only listen would not notice."""
        with redis.Redis(host=_HOST, port=port) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def __enter__(self) -> Self:
        for server in self.servers.values():
            self._stack.enter_context(server)
        self._follow(self._second_port, self._first_port)
        self._until(self._replica_is_there, "a replica")
        for port in self.sentinel_ports:
            self._start_sentinel(port)
        self._until(self._sentinels_know_each_other, "sentinels that know each other and the replica")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _server(self, port: int, settings: dict[str, str]) -> ValkeyServer:
        folder = self._folder / str(port)
        folder.mkdir(parents=True)
        return ValkeyServer(folder, **{"port": str(port), "bind": _HOST, "repl_diskless_sync_delay": "0", **settings})

    def _follow(self, port: int, of: int) -> None:
        with redis.Redis(host=_HOST, port=port) as client:
            client.replicaof(_HOST, of)

    def _replica_is_there(self) -> bool:
        with redis.Redis(host=_HOST, port=self._first_port) as client:
            facts: Any = client.info("replication")
            return bool(facts["connected_slaves"] == 1 and facts["slave0"]["state"] == "online")

    def _start_sentinel(self, port: int) -> None:
        folder = self._folder / str(port)
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f"""port {port}
bind {_HOST}
requirepass "{PASSWORD}"
sentinel sentinel-pass "{PASSWORD}"
sentinel monitor {MASTER} {_HOST} {self._first_port} 2
sentinel down-after-milliseconds {MASTER} 500
sentinel failover-timeout {MASTER} 3000
"""
        )
        command = [server_binary(), "sentinel.conf", "--sentinel"]
        with (folder / "sentinel.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self.sentinels.append(process)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    def _sentinels_know_each_other(self) -> bool:
        for port in self.sentinel_ports:
            with redis.Redis(host=_HOST, port=port, password=PASSWORD) as client:
                sentinel: Any = client
                state = sentinel.sentinel_master(MASTER)
                if state["num-other-sentinels"] != 2 or state["num-slaves"] != 1:
                    return False
                if any(replica["is_sdown"] for replica in sentinel.sentinel_slaves(MASTER)):
                    return False
        return True

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                if holds():
                    return
            except redis.RedisError:
                pass  # not listening yet
            assert time.monotonic() < deadline, f"waited for {what}"
            time.sleep(0.02)  # none of them tells when it has heard of the others


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind((_HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]
