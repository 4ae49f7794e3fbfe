"""Does a public URL lead to this receiver? A challenge that only a holder of its token or signing secret can answer.

Made by `konvox-hooks register` and `doctor`, answered by `receiver.app`. Pure, but for the nonce.

The challenge is a header with a nonce, and a proof that the asking side holds the token or secret. The answer is the
receiver's proof that it holds it too. Neither the token nor the secret is sent, so a URL that leads to somebody else
gives nothing away. A header without a good proof is ignored, so strangers learn nothing. The keys are derived, so no
proof is ever a valid signature of Konvox, and no signature a valid proof, whatever the nonce.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

CHALLENGE_HEADER = "X-Konvox-Hooks-Challenge"
"""The request header with nonce and proof."""

Kind = Literal["token", "signing secret"]
"""What both sides hold."""

_DOMAIN = b"konvox-hooks challenge v1: "
_NONCE_BYTES = 32
_HEADER = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that was made, to be sent once.

    Attributes:
        nonce: never used before; it looks like a token, so it can stand in its place in the path.
    """

    nonce: str
    _key: bytes = field(repr=False)

    @property
    def header(self) -> str:
        """The value of the header."""
        return f"{self.nonce}.{_proof(self._key, 'asked', self.nonce)}"

    def is_answered_by(self, body: bytes) -> bool:
        """Whether this is the body that only a holder of the token or secret can answer with."""
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
        answer = content.get("challenge") if isinstance(content, dict) else None
        return isinstance(answer, str) and _same(answer, _proof(self._key, "answered", self.nonce))


def make_challenge(kind: Kind, secret: str) -> Challenge:
    """A fresh challenge to a receiver that holds this token or signing secret."""
    return Challenge(secrets.token_urlsafe(_NONCE_BYTES), _key(kind, secret))


def answer_challenge(header: str, *, tokens: Sequence[str], signing_secrets: Sequence[str]) -> str | None:
    """The answer to a challenge, or None to one that is malformed, or not made with a token or secret of ours."""
    found = _HEADER.fullmatch(header)
    if found is None:
        return None
    nonce, proof = found[1], found[2]
    # Every key is compared: stopping at the first match would tell which one it was.
    answers = [
        _proof(key, "answered", nonce)
        for key in _keys(tokens, signing_secrets)
        if _same(proof, _proof(key, "asked", nonce))
    ]
    return answers[0] if answers else None


def _keys(tokens: Sequence[str], signing_secrets: Sequence[str]) -> Iterator[bytes]:
    for token in tokens:
        yield _key("token", token)
    for secret in signing_secrets:
        yield _key("signing secret", secret)


def _key(kind: Kind, secret: str) -> bytes:
    return hmac.digest(secret.encode("utf-8", "surrogatepass"), _DOMAIN + kind.encode(), hashlib.sha256)


def _proof(key: bytes, step: Literal["asked", "answered"], nonce: str) -> str:
    return hmac.digest(key, f"{step} {nonce}".encode(), hashlib.sha256).hex()


def _same(presented: str, expected: str) -> bool:
    # As bytes: compare_digest does not take other text than ASCII.
    return hmac.compare_digest(presented.encode("utf-8", "surrogatepass"), expected.encode())
