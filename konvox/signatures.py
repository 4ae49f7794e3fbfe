"""How a URL token is compared, and how each kind of signature is made and verified. Pure.

Called by `konvox.schemes`, which applies these to the headers of a request, and by `receiver.verification`. Konvox
documents neither a signature nor a secret, so each is [inferred] and off by default. A signature that does not verify
raises `SignatureError`; no input raises anything else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache

from konvox.errors import SignatureError

TOLERANCE_SECONDS = 300
"""How far the time in a signature may be from now, either way. It bounds how long a captured request is of use."""

STANDARD_SECRET_PREFIX = "whsec_"  # noqa: S105 - what such a secret begins with, as Standard Webhooks has it

_TIME = re.compile(r"[0-9]{1,12}")
_HEX_DIGEST_CHARACTERS = hashlib.sha256().digest_size * 2


def token_matches(candidate: str, tokens: Sequence[str]) -> bool:
    """Whether `candidate` is one of the URL tokens. The time taken does not tell which one it is."""
    presented = _bytes(candidate)
    # Every token is compared: stopping at the first match would tell which one it was.
    matches = [hmac.compare_digest(presented, _bytes(token)) for token in tokens]
    return any(matches)


def sign_hmac_sha256(body: bytes, *, secret: str) -> str:
    """The value of the signature header for `body`: `sha256=` and the HMAC-SHA256 in hex."""
    return "sha256=" + hmac.digest(_bytes(secret), body, "sha256").hex()


def verify_hmac_sha256(body: bytes, header_values: Sequence[str], *, secrets: Sequence[str]) -> None:
    """Check a request body against its signature header: hex with or without `sha256=`, or base64.

    Args:
        body: the raw body, exactly as received.
        header_values: every value of the signature header; one is expected.
        secrets: any of them may match, so that secrets can be rotated.

    Raises:
        SignatureError: missing, doubled, malformed or wrong. No input raises another exception.
    """
    text = _single(header_values).strip().removeprefix("sha256=")
    digest = _hex_digest(text) or _base64_digest(text)
    if digest is None:
        raise SignatureError("it is neither hex nor base64")
    _require_match([digest], [_bytes(secret) for secret in secrets], body)


def sign_timestamped(body: bytes, *, secret: str, now_seconds: int) -> str:
    """The value of the signature header: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>." and the body>`."""
    digest = hmac.digest(_bytes(secret), _timed(now_seconds, body), "sha256")
    return f"t={now_seconds},v1={digest.hex()}"


def verify_timestamped(body: bytes, header_values: Sequence[str], *, secrets: Sequence[str], now_seconds: int) -> None:
    """Check a body against `t=…,v1=…`. There may be several `v1`; parts with other names are ignored.

    Raises:
        SignatureError: missing, doubled, malformed, wrong, or made more than `TOLERANCE_SECONDS` from now.
    """
    parts = [part.strip().partition("=") for part in _single(header_values).split(",")]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1:
        raise SignatureError("it must hold one time, t=<unix seconds>")
    made_seconds = _recent(times[0], now_seconds)
    presented = [_hex_digest(value) for name, _, value in parts if name == "v1"]
    _require_match(presented, [_bytes(secret) for secret in secrets], _timed(made_seconds, body))


def sign_standard_webhooks(body: bytes, *, secret: str, message_id: str, now_seconds: int) -> str:
    """The value of `webhook-signature`: `v1,` and the base64 of the HMAC-SHA256 of `<id>.<time>.` and the body.

    Args:
        body: the raw body.
        secret: `whsec_` and base64, as Standard Webhooks has it.
        message_id: the value of `webhook-id`.
        now_seconds: the value of `webhook-timestamp`, in Unix seconds.

    Raises:
        ValueError: the secret is not of that form.
    """
    digest = hmac.digest(standard_key(secret), _bytes(message_id) + b"." + _timed(now_seconds, body), "sha256")
    return "v1," + base64.b64encode(digest).decode()


def verify_standard_webhooks(
    body: bytes,
    header_values: Sequence[str],
    *,
    message_ids: Sequence[str],
    timestamps: Sequence[str],
    secrets: Sequence[str],
    now_seconds: int,
) -> None:
    """Check a body against `webhook-signature`, `webhook-id` and `webhook-timestamp` (Standard Webhooks 1.0).

    There may be several signatures, with a blank between them; versions other than `v1` are ignored.

    Raises:
        SignatureError: a header is missing, doubled or malformed, the signature is wrong, or the time is not now.
    """
    message_id = _single(message_ids, "webhook-id is")
    made_seconds = _recent(_single(timestamps, "webhook-timestamp is"), now_seconds)
    candidates = [entry.partition(",") for entry in _single(header_values).split(" ")]
    presented = [_base64_digest(value) for version, _, value in candidates if version == "v1"]
    try:
        keys = [standard_key(secret) for secret in secrets]
    except ValueError:
        raise SignatureError("a configured secret is not base64, as Standard Webhooks has it") from None
    signed = _bytes(message_id) + b"." + _timed(made_seconds, body)
    _require_match(presented, keys, signed)


def standard_key(secret: str) -> bytes:
    """The key of a Standard Webhooks secret: what follows `whsec_`, decoded from base64.

    Raises:
        ValueError: it is not base64.
    """
    return base64.b64decode(secret.removeprefix(STANDARD_SECRET_PREFIX).encode("ascii"), validate=True)


def _single(values: Sequence[str], what: str = "") -> str:
    if len(values) != 1:
        raise SignatureError(f"{what} {'missing' if not values else 'there more than once'}".strip())
    return values[0]


def _recent(text: str, now_seconds: int) -> int:
    if not _TIME.fullmatch(text):
        raise SignatureError("its time is not Unix seconds")
    made_seconds = int(text)
    if abs(now_seconds - made_seconds) > TOLERANCE_SECONDS:
        raise SignatureError(f"it was made more than {TOLERANCE_SECONDS} s ago, or in the future")
    return made_seconds


def _require_match(presented: Sequence[bytes | None], keys: Sequence[bytes], signed: bytes) -> None:
    """Compare each signature with each key. The time taken does not tell which of them matched."""
    matched = False
    for key in keys:
        keyed = _keyed(key).copy()
        keyed.update(signed)
        expected = keyed.digest()
        for digest in presented:
            matched |= hmac.compare_digest(digest or b"", expected)
    if not matched:
        raise SignatureError("it matches none of the configured secrets")


@lru_cache(maxsize=64)  # setting up the key takes as long as hashing a body, and secrets are few
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def _timed(seconds: int, body: bytes) -> bytes:
    return b"%d." % seconds + body


def _hex_digest(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text) if len(text) == _HEX_DIGEST_CHARACTERS else None
    except ValueError:
        return None


def _base64_digest(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        return None
    # The last character has bits that decoding ignores: four texts would pass for one signature.
    return digest if base64.b64encode(digest).decode() == text else None


def _bytes(text: str) -> bytes:
    # The environment can hold bytes that are not UTF-8; they arrive as lone surrogates.
    return text.encode("utf-8", "surrogatepass")
