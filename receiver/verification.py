"""Who gets in: decides about a request from its token, its headers and its body. Pure; called by the app.

The order is from cheap to dear, and nothing about the body is said to anybody who has not shown a token or a signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol

from broker.records import Record
from konvox.envelope import parse_envelope
from konvox.errors import MalformedEventError, SignatureError
from konvox.inferred import SIGNATURE_HEADER
from konvox.schemes import SCHEMES, HeaderValues, SchemeName
from konvox.signatures import token_matches
from receiver.errors import RefusedError, not_found

KEPT_HEADERS = ("Content-Type", "User-Agent")
"""The request headers that are captured with an event. No signature and no credential is among them."""

KEPT_IF_SIGNED = ("webhook-id", "webhook-timestamp")
"""Those that are captured only where the signature is over them as well: an event's id is minted from the first."""

_KEPT = tuple((name, name.lower()) for name in KEPT_HEADERS)
_KEPT_OF_STANDARD_WEBHOOKS = tuple((name, name.lower()) for name in (*KEPT_HEADERS, *KEPT_IF_SIGNED))
"""Each header that is captured, and the name that it is captured under."""

_NONE: list[str] = []

_MOST_DIGITS = 18
"""Of a `Content-Length` that can be meant."""


class Headers(HeaderValues, Protocol):
    """What the gate asks of a request's headers: names without regard to case, several values a name."""

    def get(self, name: str, /) -> str | None:
        """The first value of a header."""
        ...


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """What a request must show to get in.

    Attributes:
        tokens: URL tokens; any is good.
        account: the name of the account that this is the gate of; empty where there is only one.
        needs_token: whether a path without a token is refused although there is a signature.
        scheme: the signature scheme.
        signature_header: the header that holds the signature.
        signing_secrets: any may match.
        company_ids: the `companyId`s to accept; none: all.
        max_body_bytes: the largest body.
    """

    tokens: Sequence[str] = field(default=(), repr=False)
    account: str = ""
    needs_token: bool = False
    scheme: SchemeName | Literal["off"] = "off"
    signature_header: str = SIGNATURE_HEADER
    signing_secrets: Sequence[str] = field(default=(), repr=False)
    company_ids: frozenset[str] = frozenset()
    max_body_bytes: int = 1_048_576

    def check_token(self, token: str | None) -> None:
        """Let a path with a good token in, and one without a token if there is a signature to come.

        Raises:
            RefusedError: 404, the same as for a path that does not exist.
        """
        if token is None:
            if self.scheme == "off" or self.needs_token:
                raise not_found()
        elif not token_matches(token, self.tokens):
            raise not_found()

    def admits(self, token: str | None) -> bool:
        """Whether `check_token` would let it in."""
        try:
            self.check_token(token)
        except RefusedError:
            return False
        return True

    def check_headers(self, headers: Headers) -> None:
        """Refuse what is no JSON, is compressed, or says that it is too large, before a byte of the body is read.

        Raises:
            RefusedError: 415 or 413.
        """
        if not _is_json(headers.get("Content-Type") or "application/json"):
            raise RefusedError(415, "the content type must be application/json")
        encodings = headers.getall("Content-Encoding", _NONE)
        if encodings and any(encoding.strip().lower() != "identity" for encoding in encodings):
            # The signature is over the raw bytes, and an inflated body can be a thousand times its size.
            raise RefusedError(415, "the body must not be compressed (no Content-Encoding)")
        length = headers.get("Content-Length") or "0"
        # int() refuses thousands of digits with an error of its own; such a length is too large in any case.
        if length.isdecimal() and (len(length) > _MOST_DIGITS or int(length) > self.max_body_bytes):
            raise self.too_large()

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
            raise RefusedError(401, str(error)) from None

    def read_event(self, body: bytes, headers: Mapping[str, str], *, received_at_ms: int) -> Record:
        """Read a verified body as an event.

        Raises:
            RefusedError: 400 if it is none, 401 if it is another company's.
        """
        try:
            envelope = parse_envelope(body)
        except MalformedEventError as error:
            raise RefusedError(400, str(error)) from None
        if self.company_ids and envelope.company_id not in self.company_ids:
            raise RefusedError(401, "the event's companyId is not one of those that are accepted here")
        names = _KEPT_OF_STANDARD_WEBHOOKS if self.scheme == "standard-webhooks" else _KEPT
        kept = {kept_as: _storable(value) for name, kept_as in names if (value := headers.get(name)) is not None}
        return Record.of(envelope, body, received_at_ms=received_at_ms, headers=kept, account=self.account)

    def too_large(self) -> RefusedError:
        """The refusal of a body over the limit."""
        return RefusedError(413, f"the body is larger than {self.max_body_bytes} bytes")


class AccountRouter:
    """The gates of all accounts of one receiver: finds the one by which a request may come in.

    Args:
        gates: at least one. An account is known by its token, or else by whose secret verifies the signature.
    """

    def __init__(self, gates: Sequence[AccountPolicy]) -> None:
        self._gates = tuple(gates)

    @property
    def gates(self) -> Sequence[AccountPolicy]:
        """All gates."""
        return self._gates

    @property
    def max_body_bytes(self) -> int:
        """The largest body that any of them lets in."""
        return max(gate.max_body_bytes for gate in self._gates)

    def candidates(self, token: str | None) -> Sequence[AccountPolicy]:
        """The gates that a request with this token, or with none, may come in by.

        Raises:
            RefusedError: 404, if there is none.
        """
        if len(self._gates) == 1:
            self._gates[0].check_token(token)
            return self._gates
        # Every gate is asked: stopping at the first would tell by the time taken which it was.
        admitting = [gate for gate in self._gates if gate.admits(token)]
        if not admitting:
            raise not_found()
        return admitting


def check_body(
    candidates: Sequence[AccountPolicy], body: bytes, headers: Headers, *, received_at_ms: int
) -> AccountPolicy:
    """The first gate whose signature the body has.

    Raises:
        RefusedError: 413 or 401, of the last one asked.
    """
    *others, last = candidates
    for gate in others:
        with suppress(RefusedError):
            gate.check_body(body, headers, received_at_ms=received_at_ms)
            return gate
    last.check_body(body, headers, received_at_ms=received_at_ms)
    return last


@lru_cache(maxsize=64)  # they are all the same few
def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _storable(value: str) -> str:
    """A header's value without lone surrogates, as which bytes that are no UTF-8 come, and which no JSON can hold."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def masked_path(path: str) -> str:
    """A request's path for the log: whatever may be a token, also in a path that does not exist, is left out."""
    known = {"", "hooks", "konvox", "healthz"}
    return "/".join(part if part in known else "***" for part in path.split("/"))
