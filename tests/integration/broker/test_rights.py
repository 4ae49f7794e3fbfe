"""A server that cannot be used is refused before an event is accepted: a cluster, or a user with too few rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.errors import UnsafeServerError
from broker.redis.client import close
from broker.redis.durability import check_server
from broker.redis.rights import missing_rights
from broker.safe_admission import Preflight
from konvox.events import Event
from tests.support.events import job_of
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import handler, run_burst

PASSWORD = "hooks-of-the-tests"


@pytest.fixture
async def admin(own_valkey: ValkeyServer) -> AsyncIterator[RedisClient]:
    """The user that gives rights."""
    connection = connect(own_valkey.url())
    yield connection
    await close(connection)


def url_of_user(valkey: ValkeyServer) -> str:
    """The URL of the user with few rights."""
    return valkey.url().replace("unix://", f"unix://hooks:{PASSWORD}@")


async def allow(admin: RedisClient, *rules: str) -> None:
    """Make the user with these rights and no others."""
    await admin.execute_command("ACL", "SETUSER", "hooks", "reset", "on", f">{PASSWORD}", *rules)


@pytest.mark.parametrize("namespace", ["konvox", "staging"])
async def test_the_line_that_is_named_is_enough(admin: RedisClient, own_valkey: ValkeyServer, namespace: str) -> None:
    """A user without any right is refused with one line; with that line, events are accepted and delivered."""
    await allow(admin)
    user = connect(url_of_user(own_valkey), namespace=namespace)
    missing = await missing_rights(user)
    command, _, rules = missing.hint.partition(" hooks ")
    assert command == "Allow it: ACL SETUSER"
    await allow(admin, *rules.split(), "+waitaof")
    assert not await missing_rights(user)
    await Preflight(user, "fsync", known_by=["token of the tests"]).check()
    await admit(user, [job_of(1)], AdmissionPolicy())
    ran: list[str] = []

    async def note(event: Event, _: object) -> None:
        ran.append(event.id)

    await run_burst(url_of_user(own_valkey), handler(note), namespace=namespace)
    assert ran == [job_of(1).record.id]
    assert (await audit(user)).balanced
    await close(user)


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("+@all", "&*", "-zadd", "-hset", "~*"), ("hset", "zadd")),
        (("+@all", "&*", "-publish", "~*"), ("publish",)),
        (("+@all", "&*", "-subscribe", "~*"), ("subscribe",)),
        (("+@all", "&*", "~konvox:*"), ("arq:job:*",)),
        (("+@all", "&*", "~arq:job:*"), ("konvox:*",)),
        (("+@all", "~*", "resetchannels"), ("&konvox:*",)),
        (("+@all", "&*", "-xinfo|stream", "~*"), ("xinfo|stream",)),
    ],
    ids=str,
)
async def test_each_right_that_is_missing_is_named(
    admin: RedisClient, own_valkey: ValkeyServer, rules: tuple[str, ...], named: tuple[str, ...]
) -> None:
    """A role does not start with too few rights: commands, keys and channels are named one by one, and no others."""
    await allow(admin, *rules)
    user = connect(url_of_user(own_valkey))
    with pytest.raises(UnsafeServerError) as refused:
        await check_server(user, "memory")
    await close(user)
    line = refused.value.hint.partition("ACL SETUSER ")[2].split()[1:]
    assert [rule.lstrip("+~&") for rule in line] == [name.lstrip("&") for name in named]
    assert refused.value.exit_code == 2


async def test_trying_leaves_nothing_behind(server: RedisClient) -> None:
    """The names that are tried end within a second, and are none of those that events use."""
    assert not await missing_rights(server)
    names = [name.decode() async for name in server.scan_iter()]
    assert all([0 < await server.pttl(name) <= 1000 for name in names])


async def test_redis_cluster_is_refused(tmp_path: Path) -> None:
    """A cluster would take events and deliver none: it is refused, also where INFO is forbidden."""
    with ValkeyServer(tmp_path, port="0", cluster_enabled="yes", databases="1", cluster_port="17999") as cluster:
        server = connect(cluster.url())
        for refused_info in ((), ("-info",)):
            await server.execute_command("ACL", "SETUSER", "default", *refused_info)
            with pytest.raises(UnsafeServerError, match="Cluster") as refused:
                await check_server(server, "fsync")
            assert refused.value.exit_code == 2
        await close(server)
