"""A connection in any pieces: every byte is answered for, or handed to aiohttp, and none is lost or taken twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.records import Job
from receiver.connection import Connection
from receiver.group_commit import GroupCommit
from receiver.reception import Verifier
from receiver.verification import AccountPolicy
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
    """Stands where aiohttp's protocol does, and keeps what it is given."""

    def __init__(self) -> None:
        self.came = b""

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.came += data


class Wire(asyncio.Transport):
    """A transport without a network: what is written to it is kept, and what comes by it goes to its protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += bytes(data)

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whom what comes goes to from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol: asyncio.Protocol = protocol

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


class ConnectionOwner:
    """The listener that the connection belongs to, with a store that takes everything."""

    pressed = False

    def __init__(self) -> None:
        self.reception = Verifier([AccountPolicy(tokens=[TOKEN])])
        self.admission = GroupCommit(self._write)
        self.aiohttp = AiohttpEnd()
        self.kept: list[str] = []

    async def _write(self, jobs: Sequence[Job]) -> list[bool]:
        self.kept += [job.record.body for job in jobs]
        return [True] * len(jobs)

    def joined(self, _: Connection) -> bool:
        """It may stay."""
        return True

    def left(self, _: Connection) -> None:
        """It is gone."""

    def aiohttp_protocol(self) -> asyncio.Protocol:
        """The end of the way."""
        return self.aiohttp


async def play(pieces: Sequence[bytes], *, at_once: bool) -> tuple[ConnectionOwner, Wire]:
    """Let these pieces come by a connection; `at_once`: without waiting for answers in between."""
    front, wire = ConnectionOwner(), Wire()
    connection = Connection(front, asyncio.get_running_loop())
    wire.set_protocol(connection)
    connection.connection_made(wire)
    for piece in pieces:
        wire.protocol.data_received(piece)
        if not at_once:
            await front.admission.drain()
    await front.admission.drain()
    while connection.busy:  # what came meanwhile is read when the answer is given
        await front.admission.drain()
    return front, wire


@given(
    requests=st.lists(st.sampled_from(PLAIN + ODD), min_size=1, max_size=5),
    cuts=st.sets(st.integers(1, 2000), max_size=8),
    at_once=st.booleans(),
)
def test_no_byte_is_lost_or_taken_twice(requests: list[bytes], cuts: set[int], at_once: bool) -> None:
    """The first requests are answered here, all from some request on are aiohttp's, and nothing between is missing."""
    stream = b"".join(requests)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    front, wire = asyncio.run(play(pieces, at_once=at_once))
    answered = wire.written.count(b"HTTP/1.1 200 OK\r\n")
    assert len(front.kept) == answered
    assert b"".join(requests[:answered]) + front.aiohttp.came == stream
    assert all(request in PLAIN for request in requests[:answered])
    assert not wire.closed


@given(noise=st.binary(min_size=1, max_size=200), cuts=st.sets(st.integers(1, 199), max_size=4))
def test_no_noise_breaks_a_connection(noise: bytes, cuts: set[int]) -> None:
    """It is waited for more, refused with a 400, or handed over whole; nothing of it is kept."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(noise)), len(noise)]
    pieces = [noise[start:end] for start, end in pairwise(edges)]
    front, wire = asyncio.run(play(pieces[:1], at_once=True))
    assert front.kept == []
    assert wire.written == b"" or (wire.written.startswith(b"HTTP/1.1 400 ") and wire.closed)
