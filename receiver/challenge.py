"""Does a public URL lead to this receiver? A challenge that only a holder of its token or signing secret can answer.

Made by `konvox-hooks register` and `doctor`, answered by `receiver.app`. Pure, but for the nonce, and for
`AnsweredChallenges`, which remembers.

The challenge is a header with a nonce, a time, the origin that is asked about, and a proof over these and the path that
the asking side holds the token or secret. The answer is the receiver's proof that it holds it too. Neither of them is
sent, so a URL that leads to somebody else gives nothing away. A header without a good proof is ignored, so strangers
learn nothing. The keys are derived, so no proof is ever a valid signature of Konvox, and no signature a valid proof,
whatever the nonce.

Could somebody else have our receiver answer in its place? A challenge is answered once, within minutes, and only for
the origin that the receiver is configured for (KONVOX_PUBLIC_URL). Where none is configured, the request's `Host` may
not name another site; a proxy may have put an address or a short name of its own there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult

import orjson

from konvox.urls import is_loopback, split_url
from receiver.paths import hook_path
from receiver.peers import parse_address

CHALLENGE_HEADER = "X-Konvox-Hooks-Challenge"
"""The request header with nonce, time, origin and proof."""

ANSWER_SECONDS: Final = 300
"""How far the time of a challenge may be from now, either way. So long its nonce is remembered."""

Kind = Literal["token", "signing secret"]
"""What both sides hold."""

_DOMAIN = b"konvox-hooks challenge v2: "
_NONCE_BYTES = 32
_HEADER = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([A-Za-z0-9_-]{1,512})\.([0-9a-f]{64})")
_MOST_REMEMBERED = 1_000
"""Only holders of a token or secret get an answer, so this is never reached by strangers."""

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that was made, to be sent once.

    Attributes:
        url: where to send it. A nonce stands in the place of a token.
        header: the value of the header.
    """

    url: str
    header: str
    _answer: str = field(repr=False)

    def is_answered_by(self, body: bytes) -> bool:
        """Whether this is the body that only a holder of the token or secret can answer with."""
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
        answer = content.get("challenge") if isinstance(content, dict) else None
        return isinstance(answer, str) and _same(answer, self._answer)


class Holder(NamedTuple):
    """An account that answers challenges, and what it is known by.

    Attributes:
        tokens: its URL tokens.
        signing_secrets: those that it verifies with.
        public_url: the origin at which it is reached, if that is known.
    """

    tokens: Sequence[str]
    signing_secrets: Sequence[str]
    public_url: str | None = None


class Answer(NamedTuple):
    """The answer to a challenge. It may be given if `AnsweredChallenges` has not met its nonce before."""

    nonce: str
    made_seconds: int
    proof: str


def make_challenge(kind: Kind, secret: str, origin: str, *, now_seconds: int | None = None) -> Challenge:
    """A fresh challenge to the receiver at an origin, if it holds this token or signing secret."""
    nonce, key = secrets.token_urlsafe(_NONCE_BYTES), _key(kind, secret)
    made_seconds = int(time.time()) if now_seconds is None else now_seconds
    url = origin + _path(kind, nonce)
    encoded = base64.urlsafe_b64encode(origin.encode()).decode().rstrip("=")
    header = f"{nonce}.{made_seconds}.{encoded}.{_proof(key, 'asked', nonce, made_seconds, url)}"
    return Challenge(url, header, _proof(key, "answered", nonce, made_seconds, url))


def answer_challenge(
    header: str, holders: Sequence[Holder], *, token: str | None, host: str | None, now_seconds: int
) -> Answer | None:
    """The answer to a challenge, or None.

    There is none to a challenge that is malformed, old, not made with a token or secret of a holder, or made for
    another URL than the holder's.

    Args:
        header: of the request.
        holders: all accounts.
        token: what stands in the place of the token in the request's path.
        host: the request's `Host`.
        now_seconds: Unix seconds.
    """
    found = _HEADER.fullmatch(header)
    if found is None:
        return None
    nonce, made_seconds, origin, proof = found[1], int(found[2]), _decoded(found[3]), found[4]
    if origin is None or abs(now_seconds - made_seconds) > ANSWER_SECONDS:
        return None
    # Every key is compared: stopping at the first match would tell which one it was.
    answers = [
        Answer(nonce, made_seconds, _proof(key, "answered", nonce, made_seconds, origin + _path(kind, nonce)))
        for kind, key, public_url in _keys(holders)
        if _same(proof, _proof(key, "asked", nonce, made_seconds, origin + _path(kind, nonce)))
        and token == (nonce if kind == "token" else None)
        and _is_ours(origin, public_url, host)
    ]
    return answers[0] if answers else None


class AnsweredChallenges:
    """Remembers which challenges were answered, so that each is answered once.

    Args:
        folder: where to note them, for all processes of this receiver; None for in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._made_seconds: dict[str, int] = {}

    def is_first(self, nonce: str, made_seconds: int, *, now_seconds: int) -> bool:
        """Whether a nonce has not been met before; from now on it has."""
        oldest = now_seconds - ANSWER_SECONDS
        self._made_seconds = {known: made for known, made in self._made_seconds.items() if made >= oldest}
        if nonce in self._made_seconds or len(self._made_seconds) >= _MOST_REMEMBERED:
            return False
        self._made_seconds[nonce] = made_seconds
        return self._folder is None or self._note(self._folder, nonce, made_seconds, oldest)

    def _note(self, folder: Path, nonce: str, made_seconds: int, oldest: int) -> bool:
        """Make a file that only one process can make. A folder that cannot be used leaves it at the memory."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in folder.iterdir():
                made = path.name.partition("-")[0]
                if made.isdecimal() and int(made) < oldest:
                    with suppress(FileNotFoundError):
                        path.unlink()
            name = f"{made_seconds}-{hashlib.sha256(nonce.encode()).hexdigest()}"
            os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            return True
        return True


def _keys(holders: Sequence[Holder]) -> list[tuple[Kind, bytes, str | None]]:
    keys: list[tuple[Kind, bytes, str | None]] = []
    for holder in holders:
        keys += [("token", _key("token", token), holder.public_url) for token in holder.tokens]
        keys += [
            ("signing secret", _key("signing secret", secret), holder.public_url) for secret in holder.signing_secrets
        ]
    return keys


def _path(kind: Kind, nonce: str) -> str:
    return hook_path(nonce if kind == "token" else None)


def _is_ours(origin: str, public_url: str | None, host: str | None) -> bool:
    asked = split_url(origin)
    if asked is None:
        return False
    if public_url is not None:
        own = split_url(public_url)
        return own is not None and _site(own) == _site(asked)
    named = split_url(f"//{host or ''}")
    name = "" if named is None else (named.hostname or "")
    # A proxy on the way may have put in an address or a short name of its own.
    is_rewritten = "." not in name or is_loopback(name) or parse_address(name) is not None
    return is_rewritten or name == asked.hostname


def _site(parts: SplitResult) -> tuple[object, ...]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _decoded(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _key(kind: Kind, secret: str) -> bytes:
    return hmac.digest(secret.encode("utf-8", "surrogatepass"), _DOMAIN + kind.encode(), hashlib.sha256)


def _proof(key: bytes, step: Literal["asked", "answered"], nonce: str, made_seconds: int, url: str) -> str:
    return hmac.digest(key, f"{step} {nonce} {made_seconds} {url}".encode(), hashlib.sha256).hex()


def _same(presented: str, expected: str) -> bool:
    # As bytes: compare_digest does not take other text than ASCII.
    return hmac.compare_digest(presented.encode("utf-8", "surrogatepass"), expected.encode())
