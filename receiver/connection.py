"""One connection of the public listener. It takes plain deliveries itself, and leaves everything else to aiohttp.

Made by `receiver.listener` for each connection. aiohttp's parser reads the request; what is behind it in aiohttp (two
tasks, a request object, a router, a stream and a response for each request) costs more than all that we do for an
event, and a delivery needs none of it: see `docs/performance.md`.

A plain delivery is a POST to the hook's path with a body of known and modest length. Anything else, and any delivery
that is to be refused, goes to aiohttp with every byte that has come, and so does the rest of its connection: there is
one place that says no, and it is `receiver.app`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from aiohttp import HttpVersion11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web import RequestPayloadError

from broker.errors import BrokerUnavailableError
from receiver.access_log import logger, logs_successes, tell_fault, tell_malformed, tell_request
from receiver.challenge import CHALLENGE_HEADER
from receiver.errors import RefusedError
from receiver.group_commit import AdmissionResult, GroupCommit
from receiver.reception import Verifier
from receiver.responses import FAULT, NOT_STORED, RETRY_AFTER, TOO_MANY, raw_answer
from receiver.verification import AccountPolicy

PLAIN_BYTES = 65_536
"""The largest request that is taken here, head and body. Those of Konvox have some hundred bytes."""

HOOK_PATH = re.compile(r"/hooks/konvox(?:/([A-Za-z0-9_-]+))?")
"""The path of a plain delivery, with or without a token; without anything that would have to be decoded."""

_HEAD_END = b"\r\n\r\n"


class _Delivery(NamedTuple):
    message: RawRequestMessage
    body: StreamReader
    gates: Sequence[AccountPolicy]


class ConnectionOwner(Protocol):
    """What a connection needs of the listener that it belongs to."""

    reception: Verifier
    admission: GroupCommit

    @property
    def pressed(self) -> bool:
        """Whether answers end their connections."""
        ...

    def joined(self, connection: Connection) -> bool:
        """A connection was made; whether it may stay."""
        ...

    def left(self, connection: Connection) -> None:
        """A connection is closed, or aiohttp's from now on."""
        ...

    def aiohttp_protocol(self) -> asyncio.Protocol:
        """The protocol of aiohttp, for one connection."""
        ...


class Connection(BaseProtocol):
    """One connection, as long as nothing but plain deliveries comes by it.

    Attributes:
        busy: whether an event waits to be durable.
        since: when the request that is being read began, or the last one was answered, by the loop's clock.
    """

    __slots__ = ("_delivery", "_event_id", "_front", "_http", "_logs_successes", "_raw", "_wire", "busy", "since")

    _wire: asyncio.Transport

    def __init__(self, front: ConnectionOwner, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._front = front
        self._parser = self._http = HttpRequestParser(
            self, loop, PLAIN_BYTES, payload_exception=RequestPayloadError, auto_decompress=False
        )
        self._raw = b""
        self._delivery: _Delivery | None = None
        self._event_id = ""
        self._logs_successes = logs_successes()
        self.busy = False
        self.since = loop.time()

    @property
    def reading(self) -> bool:
        """Whether a request has come in part."""
        return bool(self._raw) and not self.busy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        if not self._front.joined(self):
            self._front.reception.counters.unavailable += 1
            self._end(None, 503, TOO_MANY, RETRY_AFTER)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop. An event that is under way is kept all the same."""
        self._front.reception.counters.refused += self.reading
        self._front.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; called by the event loop."""
        if self.busy:
            self._raw += data  # of the next request, sent before this one was answered
            if len(self._raw) > PLAIN_BYTES:
                self._pause_transport_reading()
            return
        if self._raw:
            self._raw += data
        else:
            self._raw = data
            self.since = self._loop.time()
        self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            messages, upgraded, _ = self._http.feed_data(data)
        except HttpProcessingError as error:
            self._refuse_malformed(error)
            return
        if messages:
            gates = None if len(messages) > 1 or upgraded else self._gates_for(messages[0][0])
            if gates is None:
                self._hand_over()
                return
            self._delivery = _Delivery(*messages[0], gates)
        if self._delivery is not None and self._delivery.body.is_eof():
            self._take(self._delivery)
        elif len(self._raw) > PLAIN_BYTES:
            self._hand_over()

    def _gates_for(self, message: RawRequestMessage) -> Sequence[AccountPolicy] | None:
        """The gates by which a plain delivery may come in; None if it is none, or is to be refused."""
        path = _plain_path(message)
        if path is None:
            return None
        try:
            return self._front.reception.check_head(path[1], message.headers)
        except RefusedError:
            return None

    def _take(self, delivery: _Delivery) -> None:
        """Take a delivery that has come whole."""
        front, headers = self._front, delivery.message.headers
        body = self._raw[self._raw.find(_HEAD_END) + len(_HEAD_END) :]
        if len(body) != delivery.body.total_bytes:
            self._hand_over()  # the next request has begun behind it, and aiohttp must see its beginning
            return
        try:
            job = front.reception.read(delivery.gates, headers, body)
            front.admission.submit(job, self._answer)
        except Exception:  # noqa: BLE001 - a refusal, or a fault of ours: aiohttp's way meets it again, and answers
            self._hand_over()
            return
        self.busy = True
        self._event_id = job.record.id
        self._raw = b""

    def _answer(self, result: AdmissionResult) -> None:
        """Answer the delivery that was taken; called by the group commit."""
        front, delivery = self._front, self._delivery
        self.busy = False
        self._delivery = None
        if isinstance(result, bool):
            content: dict[str, str] = {"status": front.reception.count(accepted=result), "id": self._event_id}
            self._end(delivery, 200, content)
        elif isinstance(result, BrokerUnavailableError):
            front.reception.counters.unavailable += 1
            logger.warning("event.not_stored", reason=result.reason)
            self._end(delivery, 503, NOT_STORED, RETRY_AFTER)
        else:
            tell_fault(result)
            self._end(delivery, 500, FAULT)

    def _end(
        self,
        delivery: _Delivery | None,
        status: int,
        content: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Write an answer, and go on with what has come meanwhile."""
        if self.transport is None:
            return  # whoever sent it has gone away; the next delivery of the event will be a duplicate
        close = delivery is None or delivery.message.should_close or self._front.pressed
        self._wire.write(raw_answer(status, content, close=close, headers=headers))
        now = self._loop.time()
        if status != 200 or self._logs_successes:
            self._tell(delivery, status, now - self.since)
        self.since = now
        if close:
            self._wire.close()
        elif self._raw:
            self._resume_transport_reading()
            self._read(self._raw)

    def expire(self) -> None:
        """End a connection that has kept us waiting."""
        if self.reading:
            self._refuse(408, "the request did not arrive in time")
        elif self.transport is not None:
            self._wire.close()

    def close_if_idle(self) -> None:
        """End the connection, unless a request has begun on it: its answer ends it."""
        if not self.busy and not self._raw and self.transport is not None:
            self._wire.close()

    def abort(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            self._wire.abort()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - as aiohttp has it
        """Called by aiohttp's stream at the end of a body. Bodies that are taken here never made it pause."""

    def pause_writing(self) -> None:
        """Read nothing more from whoever does not read our answers; called by the event loop."""
        super().pause_writing()
        self._pause_transport_reading()

    def resume_writing(self) -> None:
        """Go on; called by the event loop."""
        super().resume_writing()
        self._resume_transport_reading()

    def _refuse_malformed(self, error: HttpProcessingError) -> None:
        tell_malformed(error)
        self._refuse(400, "this is no HTTP request")

    def _refuse(self, status: int, reason: str) -> None:
        self._front.reception.counters.refused += 1
        self._delivery = None
        self._raw = b""
        self._end(None, status, {"error": reason})

    def _hand_over(self) -> None:
        """Let aiohttp have the connection, and all that has come by it since the last answer."""
        self._front.left(self)
        self.transport = None
        usual = self._front.aiohttp_protocol()
        self._wire.set_protocol(usual)
        usual.connection_made(self._wire)
        usual.data_received(self._raw)

    def _tell(self, delivery: _Delivery | None, status: int, seconds: float) -> None:
        method, path = (delivery.message.method, delivery.message.path) if delivery else ("", "")
        peer = self._wire.get_extra_info("peername")
        tell_request(method=method, path=path, status=status, seconds=seconds, remote=peer[0] if peer else None)


def _plain_path(message: RawRequestMessage) -> re.Match[str] | None:
    """The path of a plain delivery, or None for a request that is none."""
    headers = message.headers
    if (
        message.method != "POST"
        or message.version != HttpVersion11
        or message.chunked
        or "Expect" in headers
        or CHALLENGE_HEADER in headers
        or int(headers.get("Content-Length", "0")) > PLAIN_BYTES
    ):
        return None
    return HOOK_PATH.fullmatch(message.path)
