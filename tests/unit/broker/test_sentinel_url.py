"""URLs of Sentinel: what they say, what is wrong with them, and which sentinel is believed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError
from redis.sentinel import MasterNotFoundError

from broker.redis.sentinel import State, async_pool, blocking_pool, newest_master, state_of
from broker.redis.sentinel_url import EXAMPLE, SentinelAddress, is_sentinel_url, parse_sentinel_url

THREE = SentinelAddress((("s1", 1), ("s2", 2), ("s3", 3)), "events")


def state(host: str, *, epoch: int, flags: str = "master") -> State:
    """What a sentinel says of the master."""
    said = {"name": "events", "ip": host, "port": "6379", "flags": flags, "config-epoch": str(epoch)}
    return state_of([part.encode() for pair in said.items() for part in pair])


def test_everything_in_a_url_is_read() -> None:
    """A URL may name several sentinels, IPv6 addresses, ports, credentials of both, a database, and TLS."""
    url = (
        "rediss+sentinel://me:p%2Fw@s1:1,[::1]:2,10.0.0.3/my-master.1/4"
        "?sentinel_username=it&sentinel_password=a+b%26c&ssl_ca_certs=/ca.pem&ssl_check_hostname=false"
    )
    assert parse_sentinel_url(url) == SentinelAddress(
        sentinels=(("s1", 1), ("::1", 2), ("10.0.0.3", 26379)),
        master="my-master.1",
        database=4,
        username="me",
        password="p/w",
        sentinel_username="it",
        sentinel_password="a+b&c",
        tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False},
    )


def test_little_is_enough() -> None:
    """One sentinel and the master's name are enough, and a slash at the end does no harm."""
    for url in ("redis+sentinel://s1/events", "redis+sentinel://s1/events/"):
        assert parse_sentinel_url(url) == SentinelAddress((("s1", 26379),), "events")
    assert parse_sentinel_url("rediss+sentinel://s1/events").tls == {}


def test_the_example_is_right() -> None:
    """The example in the messages can be read."""
    assert parse_sentinel_url(EXAMPLE).master == "mymaster"


@given(
    user=st.text(max_size=10),
    password=st.text(max_size=20),
    of_sentinels=st.text(max_size=20),
    database=st.integers(0, 99),
)
def test_what_is_percent_encoded_is_read_back(user: str, password: str, of_sentinels: str, database: int) -> None:
    """Every user and password can be written in a URL, and neither is in the representation."""
    secrets = [quote(text, safe="") for text in (user, password, of_sentinels)]
    url = f"redis+sentinel://{secrets[0]}:{secrets[1]}@s1,s2:7/m/{database}?sentinel_password={secrets[2]}"
    address = parse_sentinel_url(url)
    assert (address.username or "", address.password or "", address.sentinel_password or "") == (
        user,
        password,
        of_sentinels,
    )
    assert address.database == database
    assert "password='" not in repr(address)


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ("", "after the scheme"),
        ("s1:26379", "the name of the master is missing"),
        ("s1:26379/", "the name of the master is missing"),
        ("s1,,s2/m", "after the scheme"),
        ("s1:x/m", "after the scheme"),
        ("s1:0/m", "between 1 and 65535"),
        ("s1:65536/m", "between 1 and 65535"),
        ("s1/m/one", "after the scheme"),
        ("s1/m/1/2", "after the scheme"),
        ("s1/m#x", "after the scheme"),
        ("s1/m?db=1", "may stand sentinel_username"),
        ("s1/m?sentinel_password=a&sentinel_password=b", "twice"),
        ("s1/m?ssl_ca_certs=/ca.pem", r"begin with rediss\+sentinel://"),
        ("s1/m?ssl_check_hostname=perhaps", "true or false"),
    ],
)
def test_what_is_wrong_is_explained(rest: str, fault: str) -> None:
    """Each error says what would be right."""
    with pytest.raises(ValueError, match=fault):
        parse_sentinel_url(f"redis+sentinel://{rest}")


@given(st.text(max_size=60).map("qz{}zq".format))
def test_no_fault_quotes_the_url(text: str) -> None:
    """Any text is read, or refused without quoting it."""
    for url in (f"redis+sentinel://{text}", f"redis+sentinel://s1/m?{text}", f"redis+sentinel://s1/{text}"):
        assert text not in _fault_of(url)


def _fault_of(url: str) -> str:
    try:
        parse_sentinel_url(url)
    except ValueError as error:
        return str(error)
    return ""


def test_only_its_own_schemes_are_of_sentinel() -> None:
    """Only the two schemes of Sentinel are ours, and all other URLs are left to redis-py."""
    assert all(map(is_sentinel_url, ("redis+sentinel://s1", "REDISS+SENTINEL://s1")))
    assert not any(map(is_sentinel_url, ("redis://s1", "rediss://s1", "unix:///sentinel", "redis+sentinel", "")))


def test_the_latest_failover_is_believed() -> None:
    """A sentinel that was cut off is outvoted by one that knows of a later failover."""
    answers: list[State | Exception] = [state("old", epoch=3), state("new", epoch=4), ConnectionError()]
    assert newest_master(THREE, answers) == ("new", 6379)


def test_a_master_that_is_down_is_nobody() -> None:
    """If no master is up, the message has the answer of each sentinel."""
    down = state("old", epoch=3, flags="master,s_down,o_down")
    answers: list[State | Exception] = [down, ResponseError("No such master with that name"), TimeoutError()]
    with pytest.raises(MasterNotFoundError) as raised:
        newest_master(THREE, answers)
    assert str(raised.value) == (
        "no sentinel names a master events that is up: s1:1 says it is down; s2:2 knows none of this name; "
        "s3:3 did not answer (TimeoutError)"
    )


@pytest.mark.parametrize("make", [async_pool, blocking_pool])
def test_over_tls_the_servers_are_spoken_to_likewise(make: Any) -> None:
    """With TLS in the URL, the master's connections are TLS as well, with the same options."""
    address = parse_sentinel_url("rediss+sentinel://:pw@s1/events/2?ssl_check_hostname=false")
    connection = make(address).make_connection()
    assert connection.password == "pw"
    assert connection.db == 2
    assert "Tls" in type(connection).__name__
    assert connection.check_hostname is False
