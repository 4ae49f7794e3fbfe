"""Tests of the checks of Redis in `konvox-hooks doctor`, with real servers in each state."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from broker.redis.client import close
from tests.support.doctor import examined, one
from tests.support.registration import Shell
from tests.support.sentinel import SentinelSet
from tests.support.store import connect
from tests.support.valkey import ValkeyServer


async def test_a_redis_that_is_away_is_a_fault(shell: Shell, unused_tcp_port: int) -> None:
    """A Redis that is away is a fault, whose message does not show the password."""
    shell.configure(REDIS_URL=f"redis://:a-password@127.0.0.1:{unused_tcp_port}/0")
    outcome, lines = await examined(shell)
    assert lines["redis"][0]["state"] == "fault"
    assert "cannot be reached" in lines["redis"][0]["message"]
    assert "a-password" not in outcome.out + outcome.err


async def test_a_redis_that_hangs_is_a_fault(shell: Shell) -> None:
    """A Redis that accepts connections and never answers is a fault."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell.configure(REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        line = await one(shell, "redis")
    assert (line["state"], "cannot be reached" in line["message"]) == ("fault", True)


@pytest.mark.parametrize(
    ("durability", "settings", "check", "state", "message"),
    [
        ("fsync", {"appendonly": "no"}, "redis durability", "fault", "keeps no append-only file"),
        ("fsync", {"appendfsync": "everysec"}, "redis durability", "ok", "WAITAOF after each batch"),
        ("fsync", {}, "redis durability", "ok", "appendfsync always"),
        ("memory", {"appendonly": "no"}, "redis durability", "warning", "a crash of Redis loses events"),
        ("replicas", {}, "redis durability", "fault", "no replica is connected"),
        (
            "fsync",
            {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"},
            "redis eviction",
            "fault",
            "evict keys (`maxmemory-policy allkeys-lru`)",
        ),
        ("fsync", {"maxmemory_policy": "volatile-ttl"}, "redis eviction", "warning", "as soon as it has a `maxmemory`"),
        ("fsync", {"maxmemory": "100mb"}, "redis eviction", "ok", "noeviction"),
    ],
)
async def test_how_redis_is_set(
    shell: Shell, tmp_path: Path, durability: str, settings: dict[str, str], check: str, state: str, message: str
) -> None:
    """Each dangerous setting of Redis is found, and each safe one is ok."""
    shell.configure(DURABILITY=durability)
    with ValkeyServer(tmp_path, **settings) as valkey:
        shell.configure(REDIS_URL=valkey.url())
        line = await one(shell, check)
    assert (line["state"], message in line["message"]) == (state, True), line


async def test_an_eviction_that_somebody_allows_is_a_warning(shell: Shell, tmp_path: Path) -> None:
    """Eviction that a setting allows is a warning that names the setting."""
    with ValkeyServer(tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru") as valkey:
        shell.configure(REDIS_URL=valkey.url(), ALLOW_EVICTION="true")
        line = await one(shell, "redis eviction")
    assert line["state"] == "warning"
    assert "KONVOX_ALLOW_EVICTION=true" in line["message"]


async def test_a_replica_is_a_fault(shell: Shell, tmp_path: Path) -> None:
    """A replica, which refuses writes, is a fault, and its primary then has one replica."""
    primary_folder, replica_folder = tmp_path / "p", tmp_path / "r"
    primary_folder.mkdir()
    replica_folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with (
        ValkeyServer(primary_folder, port=port, repl_diskless_sync_delay="0") as primary,
        ValkeyServer(replica_folder, replicaof=f"127.0.0.1 {port}") as replica,
    ):
        shell.configure(REDIS_URL=replica.url())
        assert (await one(shell, "redis role"))["state"] == "fault"
        await _until_replicated(primary.url())
        shell.configure(REDIS_URL=primary.url(), DURABILITY="replicas")
        assert (await one(shell, "redis durability"))["message"].endswith("1 connected")


async def _until_replicated(url: str) -> None:
    server = connect(url, timeout_seconds=20)
    try:
        await server.set("written", "1")
        assert await server.wait(1, 15_000) == 1
    finally:
        await close(server)


async def test_a_server_that_forbids_to_look_is_still_judged(shell: Shell, tmp_path: Path) -> None:
    """A server that forbids CONFIG and INFO, as some hosted ones do, is judged as far as possible."""
    with ValkeyServer(tmp_path) as valkey:
        server = connect(valkey.url())
        await server.execute_command("ACL", "SETUSER", "hooks", "on", ">pw", "~*", "&*", "+@all", "-config", "-info")
        await close(server)
        shell.configure(REDIS_URL=valkey.url().replace("unix://", "unix://hooks:pw@"))
        _, lines = await examined(shell)
    assert {check: lines[f"redis {check}"][0]["state"] for check in ("version", "durability", "eviction", "clock")} == {
        "version": "warning",
        "durability": "ok",
        "eviction": "warning",
        "clock": "ok",
    }


async def test_the_sentinels_are_each_looked_at(shell: Shell, tmp_path: Path) -> None:
    """A sentinel that is away is a warning, because nothing else shows it, and a fault if all are."""
    with SentinelSet(tmp_path / "sentinels") as redis_set:
        shell.configure(REDIS_URL=redis_set.url(), DURABILITY="replicas")
        lines = (await examined(shell))[1]
        assert lines["redis sentinels"][0]["message"] == "all 3 name a master events"
        assert [lines[check][0]["state"] for check in ("redis", "redis durability")] == ["ok", "ok"]
        redis_set.sentinels[0].kill()
        line = await one(shell, "redis sentinels")
        assert (line["state"], line["message"][:6]) == ("warning", "1 of 3")
        for sentinel in redis_set.sentinels:
            sentinel.kill()
        outcome, lines = await examined(shell)
    assert lines["redis sentinels"][0]["state"] == "fault"
    assert "no sentinel names a master events that is up" in lines["redis"][0]["message"]
    assert "s@ntinels" not in outcome.out
    assert "s%40ntinels" not in outcome.out
