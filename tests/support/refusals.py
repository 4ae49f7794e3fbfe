"""Servers that answer and refuse writes, for each reason why Redis does that."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeAlias

import redis

from tests.support.valkey import ValkeyServer

Refusal: TypeAlias = Callable[[ValkeyServer], AbstractContextManager[None]]
"""Lasts as long as the context. It takes some ms to come and to go."""

_PATIENCE_SECONDS = 10.0


@contextmanager
def limited_files(process_id: int, most_bytes: int) -> Iterator[None]:
    """Limit the size of a process's files: its writes fail as on a full disk (Linux only)."""
    before = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
    resource.prlimit(process_id, resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may be what the process died of
            resource.prlimit(process_id, resource.RLIMIT_FSIZE, before)


@contextmanager
def is_full(valkey: ValkeyServer) -> Iterator[None]:
    """Fill it to its maxmemory: it answers OOM."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.config_set("maxmemory", 1)
        try:
            yield
        finally:
            server.config_set("maxmemory", 0)


@contextmanager
def is_a_replica(valkey: ValkeyServer) -> Iterator[None]:
    """Turn it into a replica, as in a failover: it answers READONLY."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            server.replicaof("NO", "ONE")


@contextmanager
def cannot_save(valkey: ValkeyServer) -> Iterator[None]:
    """Prevent its snapshot, as a full disk does, by a folder in the file's place: it answers MISCONF."""
    in_the_way = valkey.folder / "dump.rdb"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    with redis.Redis.from_url(valkey.url()) as server:
        server.config_set("save", "3600 1000000")
        try:
            _save(server, "err")
            yield
        finally:
            in_the_way.rmdir()
            server.config_set("save", "")
            _save(server, "ok")


@contextmanager
def lacks_replicas(valkey: ValkeyServer) -> Iterator[None]:
    """Require more replicas than it has: it answers NOREPLICAS."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            server.config_set("min-replicas-to-write", 0)


@contextmanager
def lacks_its_master(valkey: ValkeyServer) -> Iterator[None]:
    """Make it a replica whose master is gone, and which serves no stale data: it answers MASTERDOWN."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.config_set("replica-serve-stale-data", "no")
        server.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            server.replicaof("NO", "ONE")
            server.config_set("replica-serve-stale-data", "yes")


@contextmanager
def disk_is_full(valkey: ValkeyServer) -> Iterator[None]:
    """Prevent its append-only file from growing: it answers MISCONF, or ends with `appendfsync always`."""
    assert valkey.process is not None
    with limited_files(valkey.process.pid, _append_only_bytes(valkey)):
        yield


def _append_only_bytes(valkey: ValkeyServer) -> int:
    return max(path.stat().st_size for path in (valkey.folder / "appendonlydir").iterdir())


def _save(server: Any, ends: str) -> None:
    server.bgsave()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while server.info("persistence")["rdb_last_bgsave_status"] != ends:
        assert time.monotonic() < deadline, f"the snapshot never ends with {ends}"
        time.sleep(0.01)  # nobody tells of it
