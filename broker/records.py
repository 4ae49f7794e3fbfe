"""What is stored of an event: the captured request, and the job that carries it. Pure: values to bytes and back.

The receiver admits jobs, the worker runs them, and the commands list, export and import them. A job is an ordinary arq
job in JSON. It is never a pickle, because everybody who can write to Redis could then run code in the worker.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import orjson
from pydantic_core import from_json

from broker import ids
from broker.errors import MalformedRecordError
from konvox.envelope import Envelope, event_id, event_id_of_message, parse_envelope, without_mark
from konvox.errors import MalformedEventError
from konvox.schemes import MESSAGE_ID_HEADER

FUNCTION_NAME = "deliver"
"""The arq function that our jobs name."""

_TEXT = frozenset({str})

LATEST_MS = 253_402_300_799_999
"""The last ms of the year 9999, the last that a date can have."""

_MOST_ATTEMPTS = 1_000_000
"""More than any handler has; also a bound for what the backoff is computed from."""

BATCH_POSITION_HEADER = "konvox-hooks-position"
"""Kept among an event's headers if it came in an array: its position there. Only the receiver sets it."""


class Record(NamedTuple):
    """One captured request that is an event.

    Attributes:
        id: `evt_…`, minted from the content.
        type: the event's name, such as `contact.replied`.
        received_at_ms: when it was received, in Unix milliseconds of the receiver's clock.
        headers: the few request headers that are kept; never a credential or a signature.
        body: the exact text received.
        account: the account that received it; empty where there is only one.
    """

    id: str
    type: str
    received_at_ms: int
    body: str
    headers: Mapping[str, str] = {}
    account: str = ""

    @property
    def raw(self) -> bytes:
        """The body as bytes, exactly as received."""
        return self.body.encode()

    @classmethod
    def of(
        cls, envelope: Envelope, body: bytes, *, received_at_ms: int, headers: Mapping[str, str], account: str = ""
    ) -> Self:
        """A record of a body whose envelope has been read.

        Its id is minted from the body, or from the `webhook-id` among the headers, within its account. That header is
        kept only where it was signed (Standard Webhooks).
        """
        message_id = headers.get(MESSAGE_ID_HEADER)
        if message_id is None:
            minted = event_id(envelope, account=account)
        else:
            minted = event_id_of_message(message_id, headers.get(BATCH_POSITION_HEADER), account=account)
        return cls(minted, envelope.type, received_at_ms, body.decode(), headers, account)

    @classmethod
    def capture(
        cls, body: bytes, *, received_at_ms: int, headers: Mapping[str, str] | None = None, account: str = ""
    ) -> Self:
        """A record of a request body.

        Raises:
            MalformedEventError: the body is not a Konvox event.
        """
        return cls.of(parse_envelope(body), body, received_at_ms=received_at_ms, headers=headers or {}, account=account)

    def to_line(self) -> bytes:
        """The record as a line of JSON Lines, without the newline: the form in which events are exported."""
        received_at = datetime.fromtimestamp(self.received_at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        line = {"id": self.id, "received_at": received_at.replace("+00:00", "Z"), "headers": self.headers}
        came_by = {"account": self.account} if self.account else {}
        return orjson.dumps({**line, **came_by, "body": self.body})

    @classmethod
    def from_line(cls, line: bytes, *, now_ms: int) -> Self:
        """Read a line of JSON Lines: a captured request, or just a Konvox body.

        The id is minted from the body again: a line that somebody has edited is a new event.

        Raises:
            MalformedRecordError: it is neither of the two.
        """
        try:
            fields = from_json(without_mark(line), allow_inf_nan=False)  # it takes whatever the receiver takes
        except ValueError as error:
            raise MalformedRecordError(f"not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise MalformedRecordError("a line must be a JSON object")
        try:
            if "body" not in fields and "body_base64" not in fields:
                return cls.capture(line.strip(), received_at_ms=now_ms)
            body = _body_of(fields)
            received_at_ms = _unix_ms(fields.get("received_at"), default_ms=now_ms)
            return cls.capture(
                body,
                received_at_ms=received_at_ms,
                headers=_text_headers(fields.get("headers")),
                account=str(fields.get("account") or fields.get("endpoint") or ""),  # its name until 0.1
            )
        except MalformedEventError as error:
            raise MalformedRecordError(str(error)) from None


class Job(NamedTuple):
    """What stands in the queue: an event for all handlers that match, or for one handler's further attempt.

    Attributes:
        record: the event.
        delivery: the delivery that it belongs to, the unit of the ledger; see `broker.ids`.
        replayed: whether an operator runs the event again.
        handler: the one handler to run, or None for all that match.
        attempt: which attempt this is, from 1.
        waits: how many of the attempts before used up none, because the handler was told to wait.
        first_attempt_at_ms: when the handler's first attempt began, in Unix ms; None before that.
        heir: the handler to run in the place of `handler`, in whose name everything is kept all the same: the heir may
            have work of its own for this delivery. None for `handler` itself.
    """

    record: Record
    delivery: str
    replayed: bool = False
    handler: str | None = None
    attempt: int = 1
    waits: int = 0
    first_attempt_at_ms: int | None = None
    heir: str | None = None

    @classmethod
    def first(cls, record: Record) -> Self:
        """The first job of an event that has just been received."""
        return cls(record, delivery=record.id)

    @classmethod
    def replay(cls, record: Record) -> Self:
        """The first job of a replay, which is a delivery of its own."""
        return cls(record, delivery=ids.replay_id(record.id), replayed=True)

    @property
    def id(self) -> str:
        """The arq job id."""
        return ids.job_id(self.delivery, self.handler, self.attempt)

    @property
    def dead_letter_id(self) -> str:
        """The id of its dead letter, if it becomes one."""
        return ids.dead_letter_id(self.delivery, self.handler)

    def queued_as(self, job_id: str) -> Job:
        """This job.

        Raises:
            MalformedRecordError: it is queued under the id of another.
        """
        if self.id != job_id:
            raise MalformedRecordError(f"a job in Redis cannot be read: it is queued under another id than {self.id}")
        return self

    def in_delivery(self, delivery: str) -> Job:
        """The same job of a delivery with another id."""
        return self if delivery == self.delivery else self._replace(delivery=delivery)

    def for_handler(self, handler: str, *, attempt: int) -> Job:
        """The job that runs this event for one handler only."""
        return self._replace(handler=handler, attempt=attempt, waits=0, first_attempt_at_ms=None)

    def for_heir(self, heir: str) -> Job:
        """The same job, to be run by another handler."""
        return self._replace(heir=None if heir == self.handler else heir)

    def next_attempt(self, handler: str, *, waits: int, first_attempt_at_ms: int) -> Job:
        """The job of one handler's next attempt."""
        return self._replace(
            handler=handler, attempt=self.attempt + 1, waits=waits, first_attempt_at_ms=first_attempt_at_ms
        )

    def to_bytes(self) -> bytes:
        """The job as arq keeps it; the keys are arq's: t try, f function, a args, k kwargs, et enqueue time in ms."""
        record = self.record
        # Left out of first jobs, which are nearly all; an older worker does without them.
        began = self.first_attempt_at_ms
        further: dict[str, Any] = {} if began is None else {"waits": self.waits, "first_attempt_at_ms": began}
        if self.heir is not None:
            further["heir"] = self.heir
        return orjson.dumps(
            {
                "t": None,
                "f": FUNCTION_NAME,
                "a": [],
                "k": {
                    "event_id": record.id,
                    "event_type": record.type,
                    "received_at_ms": record.received_at_ms,
                    "headers": record.headers,
                    "body": record.body,
                    "account": record.account,
                    "delivery": self.delivery,
                    "replayed": self.replayed,
                    "handler": self.handler,
                    "attempt": self.attempt,
                    **further,
                },
                "et": record.received_at_ms,
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read a job as arq keeps it.

        Raises:
            MalformedRecordError: it is not ours to the last field; everybody who can write to Redis can write a job.
        """
        try:
            fields = orjson.loads(payload)
        except ValueError as error:
            raise MalformedRecordError(f"a job in Redis cannot be read: not JSON: {error}") from None
        arguments = fields.get("k") if isinstance(fields, dict) else None
        if not isinstance(arguments, dict):
            raise MalformedRecordError("a job in Redis cannot be read: it has no keyword arguments, as arq keeps them")
        return cls.from_kwargs(arguments)

    @classmethod
    def from_kwargs(cls, k: Mapping[str, Any]) -> Self:
        """Build a job from the keyword arguments with which arq calls the function.

        Raises:
            MalformedRecordError: as `from_bytes`.
        """
        try:
            record = Record(
                k["event_id"],
                k["event_type"],
                k["received_at_ms"],
                k["body"],
                k["headers"],
                k.get("account", k.get("endpoint", "")),
            )
            job = cls(record, k["delivery"], k["replayed"], k["handler"], k["attempt"])
        except KeyError as missing:
            raise MalformedRecordError(f"a job in Redis cannot be read: it has no {missing}") from None
        if job.handler is not None:  # what only such jobs have; an older worker leaves it out
            job = job._replace(
                waits=k.get("waits", 0), first_attempt_at_ms=k.get("first_attempt_at_ms"), heir=k.get("heir")
            )
        if wrong := _wrong_field(job):
            raise MalformedRecordError(f"a job in Redis cannot be read: its {wrong} is not one of ours")
        return job


def _wrong_field(job: Job) -> str | None:
    """The first field of a job that no job of ours has so; None if there is none. Exact types: `True` is no number.

    One expression, because each job that is run is looked at: it costs half of what a list of rules does.
    """
    fields: Any = job
    record, delivery, replayed, handler, attempt, waits, began, heir = fields
    event_id, event_type, received_at_ms, body, headers, account = record
    return (
        ((type(event_id) is not str or not ids.is_event(event_id)) and "event_id")
        or ((type(event_type) is not str or not event_type) and "event_type")
        or ((type(received_at_ms) is not int or not 0 <= received_at_ms <= LATEST_MS) and "received_at_ms")
        or ((type(headers) is not dict or not _TEXT.issuperset(map(type, headers.values()))) and "headers")
        or (type(body) is not str and "body")
        or (type(account) is not str and "account")
        or (delivery != event_id and not (type(delivery) is str and ids.is_delivery(delivery, event_id)) and "delivery")
        or (type(replayed) is not bool and "replayed")
        or (handler is not None and type(handler) is not str and "handler")
        or ((type(attempt) is not int or not 1 <= attempt <= _MOST_ATTEMPTS) and "attempt")
        or ((type(waits) is not int or not 0 <= waits <= _MOST_ATTEMPTS) and "waits")
        or (began is not None and (type(began) is not int or not 0 <= began <= LATEST_MS) and "first_attempt_at_ms")
        or (heir is not None and type(heir) is not str and "heir")
        or None
    )


def _body_of(fields: Mapping[str, Any]) -> bytes:
    text, encoded = fields.get("body"), fields.get("body_base64")
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError:
            raise MalformedRecordError("body_base64 is not base64") from None
    raise MalformedRecordError('"body" must be the text received, or "body_base64" its base64')


def _unix_ms(received_at: object, *, default_ms: int) -> int:
    if received_at is None:
        return default_ms
    try:
        moment = datetime.fromisoformat(str(received_at))
        in_utc = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC, a time of the year 1 may be in the year 0, which does not exist
        raise MalformedRecordError('"received_at" must be an ISO 8601 time, such as 2026-05-20T14:32:00.000Z') from None
    return round(in_utc.timestamp() * 1000)


def _text_headers(headers: object) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise MalformedRecordError('"headers" must map names to texts')
    return headers
