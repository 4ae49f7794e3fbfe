"""The signature schemes by name: the receiver verifies with them, the sandbox signs with them. Pure.

The one list of their names, for settings and options as well. Konvox documents no signature, so which scheme and which
header it will use is [inferred] and a setting. How a signature is computed is in `konvox.signatures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from konvox.signatures import (
    sign_hmac_sha256,
    sign_standard_webhooks,
    sign_timestamped,
    verify_hmac_sha256,
    verify_standard_webhooks,
    verify_timestamped,
)

SchemeName = Literal["hmac-sha256", "timestamped", "standard-webhooks"]
"""Every scheme."""

DEFAULT_SCHEME: SchemeName = "hmac-sha256"
"""What is signed with where nobody says how: the most usual one."""

MESSAGE_ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
STANDARD_SIGNATURE_HEADER = "webhook-signature"
"""The headers of Standard Webhooks, which are fixed by its specification."""


class HeaderValues(Protocol):
    """What verification asks of a request's headers: names without regard to case, several values a name."""

    def getall(self, name: str, default: list[str], /) -> list[str]:
        """All values of a header."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sender signs.

    Attributes:
        body: the raw body.
        message_id: an id that is the same each time this event is sent.
        now_seconds: the sender's time, in Unix seconds.
    """

    body: bytes
    message_id: str
    now_seconds: int


class Scheme(Protocol):
    """One way to sign."""

    def sign(self, delivery: Delivery, *, header: str, secret: str) -> Mapping[str, str]:
        """The headers to send with a body."""
        ...

    def is_signed(self, headers: HeaderValues, *, header: str) -> bool:
        """Whether there is a signature, which need not be a good one."""
        ...

    def verify(
        self, body: bytes, headers: HeaderValues, *, header: str, secrets: Sequence[str], now_seconds: int
    ) -> None:
        """Check a body against its headers.

        Args:
            body: the raw body, exactly as received.
            headers: of the request.
            header: the header that holds the signature, where the scheme leaves that open.
            secrets: any may match.
            now_seconds: the receiver's time, in Unix seconds.

        Raises:
            SignatureError: it does not verify. No input raises anything else.
        """
        ...


class _HmacSha256:
    def sign(self, delivery: Delivery, *, header: str, secret: str) -> Mapping[str, str]:
        return {header: sign_hmac_sha256(delivery.body, secret=secret)}

    def is_signed(self, headers: HeaderValues, *, header: str) -> bool:
        return bool(headers.getall(header, []))

    def verify(
        self, body: bytes, headers: HeaderValues, *, header: str, secrets: Sequence[str], now_seconds: int
    ) -> None:
        del now_seconds  # this scheme signs no time
        verify_hmac_sha256(body, headers.getall(header, []), secrets=secrets)


class _Timestamped:
    def sign(self, delivery: Delivery, *, header: str, secret: str) -> Mapping[str, str]:
        return {header: sign_timestamped(delivery.body, secret=secret, now_seconds=delivery.now_seconds)}

    def is_signed(self, headers: HeaderValues, *, header: str) -> bool:
        return bool(headers.getall(header, []))

    def verify(
        self, body: bytes, headers: HeaderValues, *, header: str, secrets: Sequence[str], now_seconds: int
    ) -> None:
        verify_timestamped(body, headers.getall(header, []), secrets=secrets, now_seconds=now_seconds)


class _StandardWebhooks:
    def sign(self, delivery: Delivery, *, header: str, secret: str) -> Mapping[str, str]:
        del header  # fixed by the specification
        body, message_id, now_seconds = delivery.body, delivery.message_id, delivery.now_seconds
        return {
            MESSAGE_ID_HEADER: message_id,
            TIMESTAMP_HEADER: str(now_seconds),
            STANDARD_SIGNATURE_HEADER: sign_standard_webhooks(
                body, secret=secret, message_id=message_id, now_seconds=now_seconds
            ),
        }

    def is_signed(self, headers: HeaderValues, *, header: str) -> bool:
        del header
        return bool(headers.getall(STANDARD_SIGNATURE_HEADER, []))

    def verify(
        self, body: bytes, headers: HeaderValues, *, header: str, secrets: Sequence[str], now_seconds: int
    ) -> None:
        del header
        verify_standard_webhooks(
            body,
            headers.getall(STANDARD_SIGNATURE_HEADER, []),
            message_ids=headers.getall(MESSAGE_ID_HEADER, []),
            timestamps=headers.getall(TIMESTAMP_HEADER, []),
            secrets=secrets,
            now_seconds=now_seconds,
        )


SCHEMES: Mapping[SchemeName, Scheme] = {
    "hmac-sha256": _HmacSha256(),
    "timestamped": _Timestamped(),
    "standard-webhooks": _StandardWebhooks(),
}
