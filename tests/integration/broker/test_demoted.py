"""A server that became a replica, under a name that leads to the new master now (DNS, or a moved address)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from broker.admission import AdmissionPolicy, admit, to_redis
from broker.audit import audit
from broker.errors import BrokerUnavailableError
from broker.queue import ClaimRequest, claim, renew
from broker.redis.client import close
from broker.redis.durability import check_server
from broker.redis.pipelined import PipelinedConnection
from tests.support.events import job_of
from tests.support.store import RedisClient, connect, connect_blocking
from tests.support.valkey import ValkeyServer

POLICY = AdmissionPolicy()


class Name:
    """A name for a server: here, a link to its socket.

    Args:
        folder: where the link is.
    """

    def __init__(self, folder: Path) -> None:
        self._link = folder / "name.sock"
        self.url = f"unix://{self._link}"

    def leads_to(self, server: ValkeyServer) -> None:
        """Lead there from now on."""
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(server.folder / "v.sock")


@pytest.fixture
def new_master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The server that takes over."""
    with ValkeyServer(tmp_path_factory.mktemp("new")) as server:
        yield server


@pytest.fixture
def name(own_valkey: ValkeyServer, tmp_path: Path) -> Name:
    """It leads to the old master at first."""
    name = Name(tmp_path)
    name.leads_to(own_valkey)
    return name


@pytest.fixture
async def server(name: Name) -> AsyncIterator[RedisClient]:
    """A client that was given the name."""
    client = connect(name.url)
    yield client
    await close(client)


@pytest.fixture(params=["yes", "no"], ids=["serves stale data", "serves none"])
def stale(request: pytest.FixtureRequest) -> str:
    """Whether a replica without its master answers READONLY to writes only, or MASTERDOWN to nearly everything."""
    return str(request.param)


async def demote(server: ValkeyServer, *, stale: str) -> None:
    """Make it a replica, which keeps its connections and refuses writes."""
    client = connect(server.url())
    await client.config_set("replica-serve-stale-data", stale)
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    await close(client)


@pytest.mark.parametrize("by", ["a pipe", "a command"])
async def test_events_go_to_the_new_master(
    server: RedisClient, name: Name, own_valkey: ValkeyServer, new_master: ValkeyServer, by: str, stale: str
) -> None:
    """Events go to the new master at once, although nothing has announced the failover."""
    write = to_redis(server, POLICY)
    assert await write([job_of(1)]) == [True]
    await demote(own_valkey, stale=stale)
    name.leads_to(new_master)
    if by == "a pipe":
        assert await write([job_of(2)]) == [True]
    else:
        assert await admit(server, [job_of(2)], POLICY) == [True]
    found = connect(new_master.url())
    assert (await audit(found)).accepted == 1
    await close(found)


async def test_until_the_name_has_changed_it_is_an_outage(
    server: RedisClient, name: Name, own_valkey: ValkeyServer, new_master: ValkeyServer, stale: str
) -> None:
    """Until the name leads to the new master it is an outage, for writes and for checks, and not afterwards."""
    assert await admit(server, [job_of(1)], POLICY) == [True]
    await demote(own_valkey, stale=stale)
    with pytest.raises(BrokerUnavailableError, match=r"READONLY|MASTERDOWN"):
        await to_redis(server, POLICY)([job_of(2)])
    with pytest.raises(BrokerUnavailableError, match="replica"):
        await check_server(server, "fsync")
    name.leads_to(new_master)
    await check_server(server, "fsync")
    assert await to_redis(server, POLICY)([job_of(2)]) == [True]


async def test_threads_find_it_as_well(
    server: RedisClient, name: Name, own_valkey: ValkeyServer, new_master: ValkeyServer, stale: str
) -> None:
    """After a failover one renewal of leases in a thread fails, and the next one goes to the new master."""
    await admit(server, [job_of(1)], POLICY)
    with connect_blocking(name.url) as blocking:
        claims = await claim(PipelinedConnection(server), ClaimRequest(1, 60_000, "old", suspect_wanted=True))
        assert renew(blocking, claims.jobs, lease_ms=60_000) == set()
        await demote(own_valkey, stale=stale)
        name.leads_to(new_master)
        await admit(server, [job_of(1)], POLICY)
        again = await claim(PipelinedConnection(server), ClaimRequest(1, 60_000, "new", suspect_wanted=True))
        with pytest.raises(redis.ConnectionError):
            renew(blocking, again.jobs, lease_ms=60_000)
        assert renew(blocking, again.jobs, lease_ms=60_000) == set()
