"""Who may deliver: the URL token and the signature schemes, signing and verifying.

Called by the receiver for every request and by the sandbox to sign what it sends. Pure: bytes and headers in, an answer
out. Konvox documents neither a signature nor a secret, so each scheme here is [inferred] and off by default.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from konvox.errors import SignatureError

_HEX_DIGEST_CHARACTERS = hashlib.sha256().digest_size * 2


def token_matches(candidate: str, tokens: Sequence[str]) -> bool:
    """Whether `candidate` is one of the URL tokens. Takes the same time whichever it is, if it is one at all."""
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
        SignatureError: missing, doubled, malformed or wrong. No other exception, whatever the input.
    """
    if len(header_values) != 1:
        raise SignatureError("missing" if not header_values else "the header stands more than once")
    presented = _digest_from(header_values[0])
    expected = [hmac.digest(_bytes(secret), body, "sha256") for secret in secrets]
    matches = [hmac.compare_digest(presented, digest) for digest in expected]
    if not any(matches):
        raise SignatureError("it matches none of the configured secrets")


def _digest_from(header_value: str) -> bytes:
    text = header_value.strip().removeprefix("sha256=")
    try:
        if len(text) == _HEX_DIGEST_CHARACTERS:
            return bytes.fromhex(text)
        digest = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise SignatureError("it is neither hex nor base64") from None
    # The last character has bits that decoding ignores: four texts would pass for one signature.
    if base64.b64encode(digest).decode("ascii") != text:
        raise SignatureError("it is neither hex nor base64")
    return digest


def _bytes(text: str) -> bytes:
    # The environment can hold what is no UTF-8; it comes as lone surrogates.
    return text.encode("utf-8", "surrogatepass")
