"""What a 200 may be based on: servers that keep what they are given are accepted, and others are refused."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.admission import AdmissionPolicy, admit, to_redis
from broker.audit import audit
from broker.errors import BrokerUnavailableError, UnsafeServerError
from broker.redis.client import close
from broker.redis.durability import (
    BY_REPLY,
    BY_WAITAOF,
    Confirmation,
    ServerCheck,
    check_server,
    confirmation_for,
    refuse_eviction,
    refuse_old,
)
from tests.support.events import job_of
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer


@asynccontextmanager
async def valkey_with(folder: Path, **settings: Any) -> AsyncIterator[RedisClient]:
    """A connection to a Valkey with these settings."""
    with ValkeyServer(folder, **settings) as valkey:
        server = connect(valkey.url())
        try:
            yield server
        finally:
            await close(server)


async def test_with_fsync_at_every_write_the_reply_is_enough(server: RedisClient) -> None:
    """With `appendfsync always`, the answer to the batch confirms it, and no second command is sent."""
    assert await confirmation_for(server, "fsync") == BY_REPLY


async def test_with_fsync_every_second_the_server_is_asked_to_wait(tmp_path: Path) -> None:
    """With `appendfsync everysec`, a second command in the same round trip confirms the batch."""
    async with valkey_with(tmp_path, appendfsync="everysec") as server:
        confirmation = await confirmation_for(server, "fsync")
        assert confirmation == BY_WAITAOF
        policy = AdmissionPolicy(confirmation=confirmation)
        assert await admit(server, [job_of(1)], policy) == [True]
        before = (await server.info("commandstats"))["cmdstat_waitaof"]["calls"]
        assert await admit(server, [job_of(2)], policy) == [True]
        assert (await server.info("commandstats"))["cmdstat_waitaof"]["calls"] == before + 1


async def test_fsync_that_stops_during_a_rewrite_is_not_enough(tmp_path: Path) -> None:
    """With `no-appendfsync-on-rewrite`, the answer does not confirm the batch, although `appendfsync` is `always`."""
    async with valkey_with(tmp_path, no_appendfsync_on_rewrite="yes") as server:
        assert await confirmation_for(server, "fsync") == BY_WAITAOF


async def test_a_server_without_an_append_only_file_is_refused(tmp_path: Path) -> None:
    """A server without an append-only file is refused with a hint and exit code 2, unless memory is enough."""
    async with valkey_with(tmp_path, appendonly="no") as server:
        with pytest.raises(UnsafeServerError, match="appendonly yes") as caught:
            await confirmation_for(server, "fsync")
        assert caught.value.exit_code == 2
        assert await confirmation_for(server, "memory") == BY_REPLY


HOSTED = {"no CONFIG": "-config", "no CONFIG, no INFO": "-config -info"}


@pytest.mark.parametrize("forbidden", HOSTED.values(), ids=HOSTED)
@pytest.mark.parametrize("appendonly", ["yes", "no"])
async def test_a_hosted_server_that_hides_its_settings_is_asked_to_prove_it(
    tmp_path: Path, forbidden: str, appendonly: str
) -> None:
    """Where CONFIG is forbidden, INFO or WAITAOF shows whether there is an append-only file."""
    async with valkey_forbidding(tmp_path, forbidden, appendonly=appendonly) as server:
        if appendonly == "yes":
            assert (await check_server(server, "fsync")).confirmation == BY_WAITAOF
        else:
            with pytest.raises(
                UnsafeServerError, match=r"no append-only file|cannot say when a write is on disk"
            ) as caught:
                await check_server(server, "fsync")
            assert "appendonly yes" in caught.value.hint


@pytest.mark.parametrize(
    ("durability", "forbidden", "command"), [("fsync", "-config -waitaof", "WAITAOF"), ("replicas", "-wait", "WAIT")]
)
async def test_a_server_that_forbids_to_ask_is_refused(
    tmp_path: Path, durability: Any, forbidden: str, command: str
) -> None:
    """A server that forbids the question is refused, and the error names the command that must be allowed."""
    async with valkey_forbidding(tmp_path, forbidden) as server:
        with pytest.raises(UnsafeServerError, match=f"(?i)permission.*allow {command} to"):
            await check_server(server, durability)


@pytest.mark.parametrize(
    ("forbidden", "settings", "unverified"),
    [
        ("-config", {"maxmemory": "100mb"}, []),
        ("-config", {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, None),
        ("-config", {"maxmemory_policy": "allkeys-lru"}, []),
        ("-config -info", {}, ["does not say its version", "does not say whether it evicts"]),
    ],
)
async def test_a_hosted_server_is_asked_by_info_whether_it_evicts(
    tmp_path: Path, forbidden: str, settings: dict[str, str], unverified: list[str] | None
) -> None:
    """Where CONFIG is forbidden, INFO shows whether the server evicts; if both are, the check says so."""
    async with valkey_forbidding(tmp_path, forbidden, **settings) as server:
        if unverified is None:
            with pytest.raises(UnsafeServerError, match="maxmemory-policy allkeys-lru"):
                await check_server(server, "fsync")
        else:
            found = (await check_server(server, "fsync")).unverified
            assert len(found) == len(unverified)
            assert all(part in sentence for part, sentence in zip(unverified, found, strict=True)), found


@asynccontextmanager
async def valkey_forbidding(folder: Path, forbidden: str, **settings: str) -> AsyncIterator[RedisClient]:
    """A connection to a Valkey whose user may not use these commands."""
    (folder / "users.acl").write_text(f"user default on nopass ~* &* +@all {forbidden}\n")
    async with valkey_with(folder, aclfile=str(folder / "users.acl"), **settings) as server:
        yield server


async def test_a_good_server_leaves_no_doubt(server: RedisClient) -> None:
    """The check of a good server has nothing to say."""
    assert await check_server(server, "fsync") == ServerCheck(BY_REPLY)


async def test_a_replica_is_an_outage(tmp_path: Path) -> None:
    """A replica is an outage rather than a fault of its settings, because it may be promoted in a moment."""
    async with valkey_with(tmp_path) as server:
        await server.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(BrokerUnavailableError, match="replica"):
            await check_server(server, "fsync")


def test_a_redis_that_is_too_old_is_refused() -> None:
    """A Redis that is too old is refused, and the error says which version is needed."""
    with pytest.raises(UnsafeServerError, match=r"Redis 6\.2\.14 is too old.*Redis 7\.0 or newer"):
        refuse_old({"redis_version": "6.2.14"})
    assert refuse_old({"redis_version": "7.0.0"}) == ""


async def test_eviction_can_be_allowed(tmp_path: Path) -> None:
    """Eviction that the operator allows is a sentence that says what it costs and how to fix it."""
    async with valkey_with(tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        [sentence] = (await check_server(server, "fsync", allow_eviction=True)).unverified
    assert "events would disappear" in sentence
    assert "maxmemory-policy noeviction" in sentence


async def test_replicas_are_waited_for(server: RedisClient) -> None:
    """A batch that no replica confirms is not answered as accepted."""
    confirmation = await confirmation_for(server, "replicas")
    assert confirmation.command is not None
    assert confirmation.command[:2] == ("WAIT", 1)
    impatient = Confirmation((*confirmation.command[:2], 1), confirmation.needed)
    with pytest.raises(BrokerUnavailableError, match="not confirmed as durable"):
        await admit(server, [job_of(1)], AdmissionPolicy(confirmation=impatient))
    assert await admit(server, [job_of(1)], AdmissionPolicy()) == [False]


@pytest.mark.parametrize(
    ("answer", "durable"), [([1, 0], True), ([0, 0], False), ([0, 5], False), ([b"1", b"0"], True)]
)
def test_only_the_servers_own_disk_confirms(answer: Any, durable: bool) -> None:
    """Of the answer to WAITAOF, only the first number counts, which is the server's own disk."""
    if durable:
        BY_WAITAOF.check(answer)
    else:
        with pytest.raises(BrokerUnavailableError):
            BY_WAITAOF.check(answer)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_is_refused(tmp_path: Path, policy: str) -> None:
    """A server that evicts is refused, and the error names its setting and the right one."""
    async with valkey_with(tmp_path, maxmemory="100mb", maxmemory_policy=policy) as server:
        with pytest.raises(UnsafeServerError, match=f"maxmemory-policy {policy}.*noeviction"):
            await refuse_eviction(server)


@pytest.mark.parametrize("settings", [{"maxmemory": "100mb"}, {"maxmemory_policy": "allkeys-lru"}])
async def test_a_server_that_cannot_evict_is_welcome(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A server with `noeviction`, or without a limit of its memory, is accepted."""
    async with valkey_with(tmp_path, **settings) as server:
        await refuse_eviction(server)


@pytest.mark.parametrize("confirmation", [BY_REPLY, BY_WAITAOF], ids=["by reply", "by WAITAOF"])
async def test_a_server_that_died_is_an_outage_and_keeps_what_was_accepted(
    own_valkey: ValkeyServer, confirmation: Confirmation
) -> None:
    """A server that died is an outage; after its restart the same connection finds what was accepted."""
    policy = AdmissionPolicy(confirmation=confirmation)
    server = connect(own_valkey.url())
    assert await admit(server, [job_of(1)], policy) == [True]
    own_valkey.kill()
    write = to_redis(server, policy)
    answers = await asyncio.gather(*(write([job_of(number)]) for number in (2, 3, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BrokerUnavailableError] * 3
    own_valkey.start()
    assert await asyncio.gather(*(write([job_of(number)]) for number in (1, 2))) == [[False], [True]]
    ledger = await audit(server)
    assert (ledger.accepted, ledger.balanced) == (2, True)
    await close(server)


async def test_a_server_that_hangs_is_an_outage(own_valkey: ValkeyServer) -> None:
    """A hanging server is an outage within the time-out, and may still write what was sent."""
    server = connect(own_valkey.url(), timeout_seconds=0.2)
    assert own_valkey.process is not None
    try:
        assert await admit(server, [job_of(1)], AdmissionPolicy()) == [True]
        own_valkey.process.send_signal(signal.SIGSTOP)
        for number in (2, 3):
            started = time.monotonic()
            with pytest.raises(BrokerUnavailableError, match="Timeout"):
                await admit(server, [job_of(number)], AdmissionPolicy())
            assert time.monotonic() - started < 1.0
        own_valkey.process.send_signal(signal.SIGCONT)
        await admit(server, [job_of(number) for number in (1, 2, 3)], AdmissionPolicy())
        ledger = await audit(server)
        assert (ledger.accepted, ledger.pending, ledger.balanced) == (3, 3, True)
    finally:
        await close(server)


async def test_a_full_server_is_an_outage(tmp_path: Path) -> None:
    """A full server is an outage until there is room again."""
    async with valkey_with(tmp_path) as server:
        await server.config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailableError, match="maxmemory"):
            await admit(server, [job_of(1)], AdmissionPolicy())
        await server.config_set("maxmemory", "0")
        assert await admit(server, [job_of(1)], AdmissionPolicy()) == [True]
        assert (await audit(server)).balanced


async def test_a_read_only_server_is_an_outage(tmp_path: Path) -> None:
    """A read-only server is an outage, and the error's text has nothing of the event."""
    async with valkey_with(tmp_path) as server:
        await server.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(BrokerUnavailableError, match=r"(?i)read.?only") as caught:
            await admit(server, [job_of(1)], AdmissionPolicy())
        assert "clcontact" not in str(caught.value)
        await server.execute_command("REPLICAOF", "NO", "ONE")
        assert await admit(server, [job_of(1)], AdmissionPolicy()) == [True]
