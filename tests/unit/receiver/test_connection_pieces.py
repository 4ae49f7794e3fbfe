"""A connection in any pieces, without a network: no byte is lost or taken twice, and what it keeps is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.records import Job
from receiver.access_log import RequestLog
from receiver.connection import MAX_PLAIN_BYTES, Connection
from receiver.counters import Counters
from receiver.group_commit import GroupCommit
from receiver.peers import TrustedProxies
from receiver.verification import AccountPolicy, Verifier
from tests.support.events import body_of
from tests.support.http import TOKEN, http_request

HOOK = f"/hooks/konvox/{TOKEN}"
PLAIN = [http_request(HOOK, body_of(number)) for number in range(4)]
ODD = [
    http_request("/healthz", method="GET"),
    http_request("/hooks/konvox/wrong", body_of(5)),
    http_request(HOOK, b"no event"),
    http_request(HOOK, b"0\r\n\r\n", headers=[("Transfer-Encoding", "chunked")]),
]


class AiohttpEnd(asyncio.Protocol):
    """Stands in for aiohttp's protocol, and keeps what it is given."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data


class Wire(asyncio.Transport):
    """A transport without a network: what is written to it is kept, and what comes by it goes to its protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.is_read = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += bytes(data)

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the protocol what comes from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol: asyncio.Protocol = protocol

    def pause_reading(self) -> None:
        """Note it."""
        self.is_read = False

    def resume_reading(self) -> None:
        """Note it."""
        self.is_read = True


class ConnectionOwner:
    """The listener that the connection belongs to, with a store that takes everything."""

    is_shedding = False

    def __init__(self) -> None:
        self.verifier = Verifier([AccountPolicy(tokens=[TOKEN])])
        self.group_commit = GroupCommit(self._write)
        self.counters = Counters()
        self.log = RequestLog(TrustedProxies())
        self.aiohttp = AiohttpEnd()
        self.kept: list[str] = []

    async def _write(self, jobs: Sequence[Job]) -> list[bool]:
        self.kept += [job.record.body for job in jobs]
        return [True] * len(jobs)

    def opened(self, _: Connection) -> bool:
        """It may stay."""
        return True

    def closed(self, _: Connection) -> None:
        """It is gone."""

    def aiohttp_protocol(self, *, is_known: bool) -> asyncio.Protocol:
        """The protocol that stands in for it."""
        del is_known
        return self.aiohttp


def connect() -> tuple[ConnectionOwner, Wire, Connection]:
    """A connection that has just been made."""
    owner, wire = ConnectionOwner(), Wire()
    connection = Connection(owner, asyncio.get_running_loop())
    wire.set_protocol(connection)
    connection.connection_made(wire)
    return owner, wire, connection


async def play(pieces: Sequence[bytes], *, at_once: bool) -> tuple[ConnectionOwner, Wire]:
    """Send these pieces by a connection; `at_once`: without waiting for answers in between."""
    owner, wire, connection = connect()
    for piece in pieces:
        wire.protocol.data_received(piece)
        if not at_once:
            await owner.group_commit.drain()
    await owner.group_commit.drain()
    while connection.busy:  # what came meanwhile is read when the answer is given
        await owner.group_commit.drain()
    return owner, wire


@given(
    requests=st.lists(st.sampled_from(PLAIN + ODD), min_size=1, max_size=5),
    cuts=st.sets(st.integers(1, 2000), max_size=8),
    at_once=st.booleans(),
)
def test_no_byte_is_lost_or_taken_twice(requests: list[bytes], cuts: set[int], at_once: bool) -> None:
    """The first requests are answered here, and from some request on aiohttp gets every byte."""
    stream = b"".join(requests)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    owner, wire = asyncio.run(play(pieces, at_once=at_once))
    answered = wire.written.count(b"HTTP/1.1 200 OK\r\n")
    assert len(owner.kept) == answered
    assert b"".join(requests[:answered]) + owner.aiohttp.received == stream
    assert all(request in PLAIN for request in requests[:answered])
    assert not wire.closed


@given(noise=st.binary(min_size=1, max_size=200), cuts=st.sets(st.integers(1, 199), max_size=4))
def test_no_noise_breaks_a_connection(noise: bytes, cuts: set[int]) -> None:
    """Noise makes the connection wait for more, answer 400, or give all of it to aiohttp; no event comes of it."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(noise)), len(noise)]
    pieces = [noise[start:end] for start, end in pairwise(edges)]
    owner, wire = asyncio.run(play(pieces[:1], at_once=True))
    assert owner.kept == []
    assert wire.written == b"" or (wire.written.startswith(b"HTTP/1.1 400 ") and wire.closed)


async def test_pipelined_bytes_are_bounded_while_an_event_waits() -> None:
    """A sender that does not wait for its answers is read no further than the bound, and again after the answer."""
    owner, wire, connection = connect()
    too_much = http_request(HOOK, body_of(6, subject="x" * MAX_PLAIN_BYTES))
    is_read = []
    for data in (PLAIN[0], PLAIN[1], too_much):
        connection.data_received(data)
        is_read.append(wire.is_read)
    assert connection.busy
    await owner.group_commit.drain()
    is_read.append(wire.is_read)
    assert is_read == [True, True, False, True]
    assert wire.written.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert owner.aiohttp.received == PLAIN[1] + too_much  # together they are no plain delivery


async def test_what_fits_the_bound_is_read_on() -> None:
    """A pipelined request of modest length does not pause the connection, and is answered in its turn."""
    owner, wire, connection = connect()
    connection.data_received(PLAIN[0])
    connection.data_received(PLAIN[1])
    assert wire.is_read
    while connection.busy:
        await owner.group_commit.drain()
    assert wire.written.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert owner.aiohttp.received == b""


async def test_the_clock_of_a_request_starts_with_its_first_byte() -> None:
    """A request has all its time from its first byte, and no more for coming in pieces."""
    _, _, connection = connect()
    now = asyncio.get_running_loop().time()
    connection.since = now - 1000
    connection.data_received(PLAIN[0][:10])
    assert connection.reading
    assert connection.since >= now
    connection.since = began = now - 5
    connection.data_received(PLAIN[0][10:20])
    assert connection.since == began


async def test_the_clock_of_an_idle_connection_starts_with_its_last_answer() -> None:
    """A connection that has just been answered is not ended for the time that the answer took."""
    owner, _, connection = connect()
    connection.data_received(PLAIN[0])
    now = asyncio.get_running_loop().time()
    connection.since = now - 1000
    await owner.group_commit.drain()
    assert not connection.reading
    assert connection.since >= now


async def test_a_sender_that_does_not_read_its_answers_is_not_read() -> None:
    """While answers pile up nothing more is read from the sender, and once they are gone, reading resumes."""
    _, wire, connection = connect()
    is_read = []
    for change in (connection.pause_writing, connection.resume_writing):
        change()
        is_read.append(wire.is_read)
    assert is_read == [False, True]


async def test_a_body_is_no_byte_longer_than_announced() -> None:
    """A line break behind a body belongs to no event: aiohttp gets all of it, and reads the body as announced."""
    owner, _, connection = connect()
    connection.data_received(PLAIN[0] + b"\r\n")
    await owner.group_commit.drain()
    assert owner.kept == []
    assert owner.aiohttp.received == PLAIN[0] + b"\r\n"


async def test_a_large_request_is_delegated_before_it_is_whole() -> None:
    """A request whose head and body exceed the bound together is left to aiohttp, although its body alone does not."""
    owner, _, connection = connect()
    request = http_request(HOOK, b" " * (MAX_PLAIN_BYTES - 10))
    connection.data_received(request[:-1])
    assert owner.aiohttp.received == request[:-1]


async def test_what_is_refused_is_counted_once() -> None:
    """What is not HTTP, a request that is too slow and one that breaks off are each one refused request."""
    for data, expires in ((b"\x16\x03\x01 hello\r\n\r\n", False), (PLAIN[0][:10], True), (PLAIN[0][:10], False)):
        owner, _, connection = connect()
        connection.data_received(data)
        if expires:
            connection.expire()
        connection.connection_lost(None)
        assert owner.counters.refused == 1
