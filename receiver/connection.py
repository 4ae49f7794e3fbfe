"""One connection of the public listener. It takes plain deliveries itself, and leaves everything else to aiohttp.

Made by `receiver.listener` for each connection. aiohttp's parser reads the request; what aiohttp puts behind it (two
tasks, a request object, a router, a stream and a response for each request) costs more than all that we do for an
event, and a delivery needs none of it: see `docs/performance.md`.

A plain delivery is a POST to the hook's path with a body of known and modest length. Anything else goes to aiohttp with
every byte that has come, and so does a delivery that is to be refused. The rest of the connection goes with it. So
there is one place that says no, and it is `receiver.app`.

The life of a connection:

    made ──► idle ──first bytes──► reading ──whole, and verified──► busy
              ▲                       │                              │
              └───────────────────────┼───────────answered───────────┘
                                      │
                                      └──anything else──► delegated to aiohttp, for good

    made, and all others are busy:       503, closed
    idle for too long, or for longest
        when there is no room:           closed
    reading for too long:                408, closed
    reading what is not HTTP:            400, closed
    reading a head that is too large:    431, closed
    answered while the listener sheds:   closed

Bytes that come while it is busy are the next request's. They wait in `_raw`, and are read after the answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from aiohttp import HttpVersion11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web import RequestPayloadError

from broker.errors import BrokerUnavailableError
from receiver.access_log import RequestLog, logs_successes
from receiver.challenge import CHALLENGE_HEADER
from receiver.counters import Counters
from receiver.errors import OverloadedError, RefusedError
from receiver.group_commit import AdmissionResult, GroupCommit
from receiver.heads import HEAD_END, MAX_HEAD_BYTES, HeadTooLargeError, is_head_too_large
from receiver.paths import PLAIN_HOOK_PATH
from receiver.refusals import BROKEN_OFF, count_refusal, log_duplicate, reason_of
from receiver.responses import (
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    NOT_STORED,
    OVERLOADED,
    REQUEST_TOO_SLOW,
    TOO_MANY_CONNECTIONS,
    Response,
    last_words,
    stored,
)
from receiver.verification import AccountPolicy, Verifier

MAX_PLAIN_BYTES = 65_536
"""The largest request that is taken here, head and body. Those of Konvox have some hundred bytes."""

MAX_WAITING_BODY_BYTES = 8_192
"""The largest body whose rest is waited for here. `receiver.app` first finds room for a larger one."""


class _Delivery(NamedTuple):
    message: RawRequestMessage
    body: StreamReader
    candidates: Sequence[AccountPolicy]


class ConnectionOwner(Protocol):
    """What a connection needs of the listener that it belongs to."""

    verifier: Verifier
    group_commit: GroupCommit
    counters: Counters
    log: RequestLog

    @property
    def is_shedding(self) -> bool:
        """Whether answers end their connections."""
        ...

    def opened(self, connection: Connection) -> bool:
        """A connection was made; whether there is room for it."""
        ...

    def closed(self, connection: Connection) -> None:
        """A connection is closed, or aiohttp's from now on."""
        ...

    def aiohttp_protocol(self, *, is_known: bool) -> asyncio.Protocol:
        """The protocol of aiohttp, for one connection; `is_known`: an event has come by it."""
        ...


class Connection(BaseProtocol):
    """One connection, as long as nothing but plain deliveries comes by it.

    Attributes:
        busy: whether an event waits to be durable.
        since: when the request that is being read began, or the last one was answered, by the loop's clock.
        is_known: whether an event has come by it.
        lingering: whether it has its last answer, and what still comes is thrown away.
    """

    __slots__ = (
        "_delivery",
        "_event_id",
        "_http",
        "_logs_successes",
        "_owner",
        "_raw",
        "_wire",
        "busy",
        "is_known",
        "lingering",
        "since",
    )

    _wire: asyncio.Transport

    def __init__(self, owner: ConnectionOwner, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._owner = owner
        self._parser = self._http = HttpRequestParser(
            self, loop, MAX_PLAIN_BYTES, payload_exception=RequestPayloadError, auto_decompress=False
        )
        self._raw = b""
        self._delivery: _Delivery | None = None
        self._event_id = ""
        self._logs_successes = logs_successes()
        self.busy = False
        self.is_known = self.lingering = False
        self.since = loop.time()

    @property
    def reading(self) -> bool:
        """Whether a request has come in part."""
        return bool(self._raw) and not self.busy and not self.lingering

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        if not self._owner.opened(self):
            self._owner.counters.shed += 1
            self._owner.log.shed(OverloadedError("too many connections"))
            self._respond(None, TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop. An event that is under way is kept all the same."""
        if self.reading:
            count_refusal(self._owner.counters, BROKEN_OFF)
        self._owner.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self.lingering:
            return
        if self.busy:
            self._raw += data
            if len(self._raw) > MAX_PLAIN_BYTES:
                self._pause_transport_reading()
            return
        if self._raw:
            self._raw += data
        else:
            self._raw = data
            self.since = self._loop.time()
        self._read(data)

    def _read(self, data: bytes) -> None:
        if len(self._raw) > MAX_HEAD_BYTES and self._delivery is None and not self._head_bytes():
            self._refuse_malformed(HeadTooLargeError())  # before the parser has made two copies of it
            return
        try:
            messages, upgraded, _ = self._http.feed_data(data)
        except HttpProcessingError as error:
            if 0 < self._head_bytes() < len(self._raw):
                self._delegate_to_aiohttp()  # it may be the next request that is wrong: the first has its answer there
            else:
                self._refuse_malformed(error)
            return
        if messages:
            candidates = None if len(messages) > 1 or upgraded else self._candidates_for(*messages[0])
            if candidates is None:
                self._delegate_to_aiohttp()
                return
            self._delivery = _Delivery(*messages[0], candidates)
        if self._delivery is not None and self._delivery.body.is_eof():
            self._submit(self._delivery)
        elif self._delivery is not None:
            length = self._delivery.message.headers.get("Content-Length", "0")
            if int(length) > MAX_WAITING_BODY_BYTES:
                self._delegate_to_aiohttp()

    def _head_bytes(self) -> int:
        """The length of the first head, or 0 if it is not whole or is too large."""
        end = self._raw.find(HEAD_END, 0, MAX_HEAD_BYTES)
        return end + len(HEAD_END) if end >= 0 else 0

    def _candidates_for(self, message: RawRequestMessage, body: StreamReader) -> Sequence[AccountPolicy] | None:
        """The accounts that a plain delivery may belong to; None if it is none, or is to be refused."""
        path = _plain_path(message)
        if path is None:
            return None
        verifier = self._owner.verifier
        try:
            candidates = verifier.check_head(path[1], message.headers)
            if path[1] is None and not body.is_eof():  # what has come whole need not be held: it is verified at once
                verifier.check_shown(None, message.headers, candidates)
        except RefusedError:
            return None
        return candidates

    def _submit(self, delivery: _Delivery) -> None:
        """Verify a delivery that has come whole, and let the group commit have its event."""
        owner, headers = self._owner, delivery.message.headers
        body = self._raw[self._raw.find(HEAD_END) + len(HEAD_END) :]
        if len(body) != delivery.body.total_bytes:
            self._delegate_to_aiohttp()  # the next request has begun behind it, and aiohttp must see its beginning
            return
        try:
            job = owner.verifier.read(delivery.candidates, headers, body, received_at_ms=time.time_ns() // 1_000_000)
            if isinstance(job, list):  # an array of events, which is rare
                self._delegate_to_aiohttp()
                return
            owner.group_commit.submit(job, self._on_result)
        except Exception:  # noqa: BLE001 - a refusal, or a fault of ours: aiohttp's way meets it again, and answers
            self._delegate_to_aiohttp()
            return
        self.busy = True
        self._event_id = job.record.id
        self._raw = b""

    def _on_result(self, result: AdmissionResult) -> None:
        """Answer the delivery whose event was submitted; called by the group commit."""
        counters, delivery = self._owner.counters, self._delivery
        self.busy = False
        self._delivery = None
        if isinstance(result, bool):
            counters.count_stored(accepted=result)
            self.is_known = True
            if not result:
                log_duplicate(self._event_id)
            self._respond(delivery, stored(self._event_id, accepted=result))
        elif isinstance(result, OverloadedError):
            counters.shed += 1
            self._owner.log.shed(result)
            self._respond(delivery, OVERLOADED)
        elif isinstance(result, BrokerUnavailableError):
            counters.unavailable += 1
            self._owner.log.not_stored(result)
            self._respond(delivery, NOT_STORED)
        else:
            self._owner.log.fault(result)
            self._respond(delivery, INTERNAL_ERROR)

    def _respond(self, delivery: _Delivery | None, response: Response) -> None:
        """Write an answer, then read what has come meanwhile. Without a delivery the answer ends the connection."""
        if self.transport is None:
            return  # the sender has gone away; its next delivery of the event will be a duplicate
        close = delivery is None or delivery.message.should_close or self._owner.is_shedding
        self._wire.write(response.to_bytes(close=close))
        now = self._loop.time()
        if response.status != 200 or self._logs_successes:
            self._log(delivery, response, now - self.since)
        self.since = now
        if close:
            self._wire.close()
        elif self._raw:
            self._resume_transport_reading()
            self._read(self._raw)

    def expire(self) -> None:
        """End a connection that has been idle or reading for too long."""
        if self.reading:
            self._refuse(REQUEST_TOO_SLOW)
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
        """Called by the event loop: the sender does not read our answers, so nothing more of it is read."""
        super().pause_writing()
        self._pause_transport_reading()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        super().resume_writing()
        self._resume_transport_reading()

    def _refuse_malformed(self, error: HttpProcessingError) -> None:
        self._owner.log.malformed(error)
        if not is_head_too_large(error):
            self._refuse(MALFORMED_REQUEST)
        elif self.transport is not None:
            count_refusal(self._owner.counters, reason_of(HEAD_TOO_LARGE))
            self._raw = b""
            self.lingering = True
            self.since = self._loop.time()
            last_words(self._wire, HEAD_TOO_LARGE)

    def _refuse(self, response: Response) -> None:
        """Refuse what cannot be read as a request, or does not come to its end."""
        count_refusal(self._owner.counters, reason_of(response))
        self._delivery = None
        self._raw = b""
        self._respond(None, response)

    def _delegate_to_aiohttp(self) -> None:
        """Let aiohttp have the connection, and all that has come by it since the last answer."""
        self._owner.closed(self)
        self.transport = None
        aiohttp_protocol = self._owner.aiohttp_protocol(is_known=self.is_known)
        self._wire.set_protocol(aiohttp_protocol)
        aiohttp_protocol.connection_made(self._wire)
        aiohttp_protocol.data_received(self._raw)

    def _log(self, delivery: _Delivery | None, response: Response, seconds: float) -> None:
        message = None if delivery is None else delivery.message
        peer = self._wire.get_extra_info("peername")
        self._owner.log.answered(
            method="" if message is None else message.method,
            path="" if message is None else message.path,
            status=response.status,
            seconds=seconds,
            address=peer[0] if peer else None,
            headers=None if message is None else message.headers,
            reason=response.reason,
        )


def _plain_path(message: RawRequestMessage) -> re.Match[str] | None:
    """The path of a plain delivery, or None for a request that is none."""
    headers = message.headers
    if (
        message.method != "POST"
        or message.version != HttpVersion11
        or message.chunked
        or "Expect" in headers
        or CHALLENGE_HEADER in headers
        or int(headers.get("Content-Length", "0")) > MAX_PLAIN_BYTES
    ):
        return None
    return PLAIN_HOOK_PATH.fullmatch(message.path)
