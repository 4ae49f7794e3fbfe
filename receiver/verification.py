"""Who may deliver: decides about a request from its token, its headers and its body, and reads the event. Pure.

Called for every request by `receiver.connection` and `receiver.app`, first with the head, then with the whole body.

The cheap checks come first. A sender who has shown neither a token nor a signature learns nothing about its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol

from broker.admission import BATCH_EVENTS
from broker.records import BATCH_POSITION_HEADER, Job, Record
from konvox.envelope import Envelope, parse_delivery
from konvox.errors import MalformedEventError, SignatureError, TooManyEventsError
from konvox.inferred import SIGNATURE_HEADER
from konvox.schemes import MESSAGE_ID_HEADER, SCHEMES, HeaderValues, SchemeName
from konvox.signatures import token_matches
from receiver.challenge import Answer, Holder, answer_challenge
from receiver.errors import RefusedError
from receiver.responses import (
    COMPRESSED,
    NOT_FOUND,
    NOT_JSON,
    OTHER_COMPANY,
    bad_signature,
    body_too_large,
    not_an_event,
    too_many_events,
)

KEPT_HEADERS = ("Content-Type", "User-Agent")
"""The request headers that are kept with an event. No signature and no credential is among them."""

KEPT_IF_SIGNED = ("webhook-id", "webhook-timestamp")
"""Headers that are kept only where the signature covers them: an event's id is minted from the first."""

_KEPT = tuple((name, name.lower()) for name in KEPT_HEADERS)
_KEPT_OF_STANDARD_WEBHOOKS = tuple((name, name.lower()) for name in (*KEPT_HEADERS, *KEPT_IF_SIGNED))
"""Each header that is kept, and the name that it is kept under."""

_NONE: list[str] = []

_MOST_LENGTH_DIGITS = 18
"""A `Content-Length` with more digits than this is too large in any case."""


class Headers(HeaderValues, Protocol):
    """What verification asks of a request's headers: names without regard to case, several values a name."""

    def get(self, name: str, /) -> str | None:
        """The first value of a header."""
        ...


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """What a request must show to deliver events of one account.

    Attributes:
        tokens: URL tokens; any is good.
        account: the account's name; empty where there is only one.
        needs_token: whether a path without a token is refused although there is a signature.
        scheme: the signature scheme.
        signature_header: the header that holds the signature.
        signing_secrets: any may match.
        company_ids: the `companyId`s to accept; none: all.
        max_body_bytes: the largest body.
        public_url: the origin at which Konvox reaches it, if that is known.
    """

    tokens: Sequence[str] = field(default=(), repr=False)
    account: str = ""
    needs_token: bool = False
    scheme: SchemeName | Literal["off"] = "off"
    signature_header: str = SIGNATURE_HEADER
    signing_secrets: Sequence[str] = field(default=(), repr=False)
    company_ids: frozenset[str] = frozenset()
    max_body_bytes: int = 1_048_576
    public_url: str | None = None

    def accepts_token(self, token: str | None) -> bool:
        """Whether the token is good; without a token, whether a signature is to come in its place."""
        if token is None:
            return self.scheme != "off" and not self.needs_token
        return token_matches(token, self.tokens)

    def check_headers(self, headers: Headers) -> None:
        """Refuse a body that is not JSON, is compressed, or is announced as too large, before a byte of it is read.

        Raises:
            RefusedError: 415 or 413.
        """
        if not _is_json(headers.get("Content-Type") or "application/json"):
            raise RefusedError(NOT_JSON)
        encodings = headers.getall("Content-Encoding", _NONE)
        if encodings and any(encoding.strip().lower() != "identity" for encoding in encodings):
            # The signature is over the raw bytes, and an inflated body can be a thousand times its size.
            raise RefusedError(COMPRESSED)
        length = headers.get("Content-Length") or "0"
        # int() refuses thousands of digits with an error of its own; such a length is too large in any case.
        if length.isdecimal() and (len(length) > _MOST_LENGTH_DIGITS or int(length) > self.max_body_bytes):
            raise self.too_large()

    def is_signed(self, headers: Headers) -> bool:
        """Whether there is a signature, which need not be a good one."""
        return self.scheme == "off" or SCHEMES[self.scheme].is_signed(headers, header=self.signature_header)

    def check_body(self, body: bytes, headers: Headers, *, received_at_ms: int) -> None:
        """Check the size and the signature of a body.

        Raises:
            RefusedError: 413 or 401.
        """
        if len(body) > self.max_body_bytes:
            raise self.too_large()
        if self.scheme == "off":
            return
        try:
            SCHEMES[self.scheme].verify(
                body,
                headers,
                header=self.signature_header,
                secrets=self.signing_secrets,
                now_seconds=received_at_ms // 1000,
            )
        except SignatureError as error:
            raise RefusedError(bad_signature(str(error))) from None

    def read_events(self, body: bytes, headers: Headers, *, received_at_ms: int) -> Job | list[Job]:
        """Read a verified body as an event, or as an array of events.

        Raises:
            RefusedError: 400 if it is neither, 401 if one of the events is another company's, 413 if there are too
                many of them.
        """
        try:
            delivered = parse_delivery(body, most_events=BATCH_EVENTS)
        except MalformedEventError as error:
            raise RefusedError(not_an_event(str(error))) from None
        except TooManyEventsError as error:
            raise RefusedError(too_many_events(str(error))) from None
        kept = self._kept(headers)
        if isinstance(delivered, Envelope):
            return self._job(delivered, body, kept, received_at_ms)
        jobs = []
        for position, (envelope, text) in enumerate(delivered):
            # A `webhook-id` is one for all of them: their positions tell them apart.
            marked = {**kept, BATCH_POSITION_HEADER: str(position)} if MESSAGE_ID_HEADER in kept else kept
            jobs.append(self._job(envelope, text, marked, received_at_ms))
        return jobs

    def _kept(self, headers: Headers) -> dict[str, str]:
        names = _KEPT_OF_STANDARD_WEBHOOKS if self.scheme == "standard-webhooks" else _KEPT
        return {kept_as: _storable(value) for name, kept_as in names if (value := headers.get(name)) is not None}

    def _job(self, envelope: Envelope, text: bytes, kept: dict[str, str], received_at_ms: int) -> Job:
        if self.company_ids and envelope.company_id not in self.company_ids:
            raise RefusedError(OTHER_COMPANY)
        record = Record.of(envelope, text, received_at_ms=received_at_ms, headers=kept, account=self.account)
        return Job.first(record)

    def too_large(self) -> RefusedError:
        """The refusal of a body over the limit."""
        return RefusedError(body_too_large(self.max_body_bytes))


class Verifier:
    """Finds the account that a request belongs to, and verifies the request for it.

    An account is known by its token, or else by whose secret verifies the signature.

    Args:
        policies: those of all accounts, at least one.
    """

    def __init__(self, policies: Sequence[AccountPolicy]) -> None:
        self._policies = tuple(policies)

    @property
    def max_body_bytes(self) -> int:
        """The largest body that any account takes."""
        return max(policy.max_body_bytes for policy in self._policies)

    def check_head(self, token: str | None, headers: Headers) -> Sequence[AccountPolicy]:
        """The policies of the accounts that a request may belong to, before a byte of its body is read.

        Args:
            token: the token in the path, if there is one.
            headers: of the request.

        Raises:
            RefusedError: 404, 413 or 415.
        """
        candidates = self._candidates(token)
        if not candidates:
            raise RefusedError(NOT_FOUND)
        candidates[0].check_headers(headers)
        return candidates

    def _candidates(self, token: str | None) -> list[AccountPolicy]:
        # Every account is asked: stopping at the first would tell by the time taken which it was.
        return [policy for policy in self._policies if policy.accepts_token(token)]

    def check_shown(self, token: str | None, headers: Headers, candidates: Sequence[AccountPolicy]) -> None:
        """Refuse a request that shows neither a token nor a signature: not a byte of its body is held.

        Raises:
            RefusedError: 401.
        """
        if token is None and not any(policy.is_signed(headers) for policy in candidates):
            raise RefusedError(bad_signature(str(SignatureError("missing"))))

    def read(
        self, candidates: Sequence[AccountPolicy], headers: Headers, body: bytes, *, received_at_ms: int
    ) -> Job | list[Job]:
        """Verify a body, and read it as an event, or as an array of events.

        Args:
            candidates: what `check_head` returned.
            headers: of the request.
            body: the raw body, exactly as received.
            received_at_ms: now, in Unix milliseconds.

        Raises:
            RefusedError: 400, 401 or 413.
        """
        policy = _verified(candidates, body, headers, received_at_ms=received_at_ms)
        return policy.read_events(body, headers, received_at_ms=received_at_ms)

    def check_path(self, token: str | None) -> None:
        """Refuse a peer that asks with a wrong token whether there is a receiver; 404, the same as for a delivery.

        Raises:
            RefusedError: 404.
        """
        if not self._candidates(token):
            raise RefusedError(NOT_FOUND)

    def answer_challenge(self, header: str, *, token: str | None, host: str | None, now_seconds: int) -> Answer | None:
        """The answer to a challenge of `register` or `doctor`, or None to a stranger's."""
        holders = [
            Holder(policy.tokens, policy.signing_secrets if policy.scheme != "off" else (), policy.public_url)
            for policy in self._policies
        ]
        return answer_challenge(header, holders, token=token, host=host, now_seconds=now_seconds)


def _verified(
    candidates: Sequence[AccountPolicy], body: bytes, headers: Headers, *, received_at_ms: int
) -> AccountPolicy:
    """The first policy whose signature the body has.

    Raises:
        RefusedError: 413 or 401, of the last one asked.
    """
    *others, last = candidates
    for policy in others:
        with suppress(RefusedError):
            policy.check_body(body, headers, received_at_ms=received_at_ms)
            return policy
    last.check_body(body, headers, received_at_ms=received_at_ms)
    return last


@lru_cache(maxsize=64)  # senders use the same few
def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _storable(value: str) -> str:
    """A header's value without lone surrogates. Bytes that are not UTF-8 arrive as these, and JSON cannot hold them."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
