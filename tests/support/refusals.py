"""A Valkey that is there, answers, and takes no writes, for each reason that there is."""

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
    """Let no file of a process grow beyond that: its writes fail as on a disk without room (Linux)."""
    before = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
    resource.prlimit(process_id, resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may be what the process died of
            resource.prlimit(process_id, resource.RLIMIT_FSIZE, before)


@contextmanager
def is_full(valkey: ValkeyServer) -> Iterator[None]:
    """It is at maxmemory: OOM."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.config_set("maxmemory", 1)
        try:
            yield
        finally:
            server.config_set("maxmemory", 0)


@contextmanager
def is_a_replica(valkey: ValkeyServer) -> Iterator[None]:
    """It has become a replica, as in a failover: READONLY."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            server.replicaof("NO", "ONE")


@contextmanager
def cannot_save(valkey: ValkeyServer) -> Iterator[None]:
    """It cannot write its snapshot, as on a full disk (a folder stands where the file should go): MISCONF."""
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
    """Fewer replicas follow it than it must have: NOREPLICAS."""
    with redis.Redis.from_url(valkey.url()) as server:
        server.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            server.config_set("min-replicas-to-write", 0)


@contextmanager
def lacks_its_master(valkey: ValkeyServer) -> Iterator[None]:
    """It is a replica whose master is gone, and which shows nobody its stale data: MASTERDOWN."""
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
    """Its append-only file cannot grow: MISCONF, or with `appendfsync always` its end."""
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
