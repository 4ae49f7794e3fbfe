"""Which tokens and signing secrets are too short to be trusted. Pure.

Anybody who guesses one can deliver as Konvox, so a short one is refused like a weak password, wherever it comes from.
"""

from __future__ import annotations

import binascii
from typing import Final

from konvox.signatures import STANDARD_SECRET_PREFIX, standard_key

RANDOM_TEXT_COMMAND: Final = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
"""The command that makes a URL token, for messages."""

STRONG_CHARACTERS: Final = 16
"""A token or secret of this length cannot be guessed, if it was made at random."""


def is_weak(secret: str) -> bool:
    """Whether a token or a signing secret is too short."""
    return _length(secret) < STRONG_CHARACTERS


def refuse_weak(secret: str, which: str) -> None:
    """Refuse a token or signing secret that is too short.

    Raises:
        ValueError: it is; the message says which one, and nothing of it.
    """
    if is_weak(secret):
        what = "is empty" if not secret.strip() else f"is shorter than {STRONG_CHARACTERS} characters"
        raise ValueError(f"{which} {what}, and can be guessed; make one: {RANDOM_TEXT_COMMAND}")


def _length(secret: str) -> int:
    """The length in characters; of what is written in base64 after `whsec_`, in bytes."""
    text = secret.strip()
    if not text.startswith(STANDARD_SECRET_PREFIX):
        return len(text)
    try:
        return len(standard_key(text))
    except (ValueError, binascii.Error):
        return len(text.removeprefix(STANDARD_SECRET_PREFIX))
