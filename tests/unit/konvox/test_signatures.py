"""Tests of signatures and URL tokens: published vectors, and that everything else is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from konvox.errors import SignatureError
from konvox.signatures import sign_hmac_sha256, token_matches, verify_hmac_sha256

GITHUB = (
    "It's a Secret to Everybody",
    b"Hello, World!",
    "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
)
RFC_4231_CASE_2 = (
    "Jefe",
    b"what do ya want for nothing?",
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
)

ANY_TEXT = st.text(st.characters())
"""Lone surrogates included, as which aiohttp gives the bytes of a header that are no UTF-8."""

SECRETS = st.text(min_size=1, max_size=40)


def in_base64(body: bytes, secret: str) -> str:
    """The signature in base64 instead of hex."""
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


@pytest.mark.parametrize(("secret", "body", "digest"), [GITHUB, RFC_4231_CASE_2])
def test_published_vectors(secret: str, body: bytes, digest: str) -> None:
    """GitHub's documented example and the vectors of RFC 4231 verify."""
    assert sign_hmac_sha256(body, secret=secret) == "sha256=" + digest
    for value in (digest, "sha256=" + digest, digest.upper(), f" sha256={digest}\t", in_base64(body, secret)):
        verify_hmac_sha256(body, [value], secrets=[secret])


@given(body=st.binary(), secret=SECRETS, others=st.lists(SECRETS, max_size=3), data=st.data())
def test_what_is_signed_verifies(body: bytes, secret: str, others: list[str], data: st.DataObject) -> None:
    """A signature verifies in each notation, wherever its secret is among others."""
    secrets = data.draw(st.permutations([secret, *others]))
    signature = sign_hmac_sha256(body, secret=secret)
    for value in (signature, signature.removeprefix("sha256="), in_base64(body, secret)):
        verify_hmac_sha256(body, [value], secrets=secrets)


@given(body=st.binary(min_size=1), secret=SECRETS, data=st.data())
def test_any_changed_byte_is_refused(body: bytes, secret: str, data: st.DataObject) -> None:
    """A body with one byte changed, one more or one less is refused."""
    position = data.draw(st.integers(0, len(body) - 1))
    flipped = body[position] ^ data.draw(st.integers(1, 255))
    signature = sign_hmac_sha256(body, secret=secret)
    changed = body[:position] + bytes([flipped]) + body[position + 1 :]
    for other in (changed, body + b"\0", body[:-1], b"\0" + body):
        with pytest.raises(SignatureError, match="none of the configured secrets"):
            verify_hmac_sha256(other, [signature], secrets=[secret])


@given(secret=SECRETS, other=SECRETS)
def test_another_secret_is_refused(secret: str, other: str) -> None:
    """A signature does not verify with another secret."""
    # HMAC fills a key up with zero bytes: these two are one key.
    assume(secret.rstrip("\0") != other.rstrip("\0"))
    with pytest.raises(SignatureError):
        verify_hmac_sha256(b"body", [sign_hmac_sha256(b"body", secret=secret)], secrets=[other])


@given(st.data())
def test_any_changed_character_of_a_signature_is_refused(data: st.DataObject) -> None:
    """Any changed character of a signature is refused; only the case of hex digits does not matter."""
    body = data.draw(st.binary())
    good = data.draw(st.sampled_from([sign_hmac_sha256(body, secret="s"), in_base64(body, "s")]))
    position = data.draw(st.integers(0, len(good) - 1))
    character = data.draw(st.characters())
    value = good[:position] + character + good[position + 1 :]
    assume(value.lower() != good if good.startswith("sha256=") else value != good)
    with pytest.raises(SignatureError):
        verify_hmac_sha256(body, [value], secrets=["s"])


def test_base64_is_not_read_leniently() -> None:
    """The last character holds bits that decoders ignore; another character there is refused all the same."""
    good = in_base64(b"body", "s")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    neighbour = good[:-2] + alphabet[alphabet.index(good[-2]) + 1] + "="
    assert base64.b64decode(neighbour) == base64.b64decode(good)
    with pytest.raises(SignatureError, match="neither hex nor base64"):
        verify_hmac_sha256(b"body", [neighbour], secrets=["s"])


@given(body=st.binary(), values=st.lists(ANY_TEXT, max_size=3), secrets=st.lists(ANY_TEXT, max_size=3))
@example(body=b"", values=[""], secrets=[""])
@example(body=b"", values=["\udcff" * 64], secrets=["s"])
@example(body=b"", values=["٣" * 64], secrets=["s"])
@example(body=b"", values=["a b" * 21 + "c"], secrets=["s"])
@example(body=b"", values=["0" * 100_001], secrets=["s"])
@example(body=b"", values=["="], secrets=["\ud800"])
def test_no_input_raises_anything_else(body: bytes, values: list[str], secrets: list[str]) -> None:
    """Whatever the headers hold, they are refused with SignatureError, and nothing that was not signed is accepted."""
    with pytest.raises(SignatureError):
        verify_hmac_sha256(body, values, secrets=secrets)


@given(st.lists(st.sampled_from("0123456789abcdefABCDEF+/= sha256=\t\n\x00ÿ\udcff"), max_size=80).map("".join))
def test_no_near_miss_raises_anything_else(value: str) -> None:
    """Texts of the right characters, in all lengths about the right one, are refused with SignatureError."""
    with pytest.raises(SignatureError):
        verify_hmac_sha256(b"body", [value], secrets=["s"])


def test_one_header_is_expected() -> None:
    """A missing header and a second one are each refused with a reason of their own, however good they are."""
    good = sign_hmac_sha256(b"body", secret="s")
    with pytest.raises(SignatureError, match="missing"):
        verify_hmac_sha256(b"body", [], secrets=["s"])
    with pytest.raises(SignatureError, match="more than once"):
        verify_hmac_sha256(b"body", [good, good], secrets=["s"])


def test_without_secrets_nothing_is_right() -> None:
    """Without secrets every signature is refused, also the digest with an empty key."""
    with pytest.raises(SignatureError):
        verify_hmac_sha256(b"body", [sign_hmac_sha256(b"body", secret="")], secrets=[])


@given(body=st.binary(min_size=8), value=st.text(min_size=8))
def test_the_error_holds_nothing_of_the_request(body: bytes, value: str) -> None:
    """The error may be logged and sent back, because it holds nothing of the request."""
    with pytest.raises(SignatureError) as refused:
        verify_hmac_sha256(body, [value], secrets=["the-secret"])
    assert str(refused.value) in {
        "signature refused: it is neither hex nor base64",
        "signature refused: it matches none of the configured secrets",
    }


@given(candidate=ANY_TEXT, tokens=st.lists(ANY_TEXT, max_size=4))
@example(candidate="\ud800", tokens=["\ud800", "é"])
@example(candidate="", tokens=[])
def test_a_token_matches_if_it_is_one_of_them(candidate: str, tokens: list[str]) -> None:
    """A text matches exactly if it is one of the configured tokens, whatever it and they are."""
    assert token_matches(candidate, tokens) is (candidate in tokens)
    assert token_matches(candidate, [*tokens, candidate])
    assert token_matches(candidate, [candidate, *tokens])


def test_all_tokens_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison is left out after a match, so the time taken does not tell which token it was."""
    compared: list[bytes] = []

    def compare(presented: bytes, token: bytes) -> bool:
        """Compare, and record the other value."""
        compared.append(token)
        return presented == token

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert token_matches("a", ["a", "b", "c"])
    assert compared == [b"a", b"b", b"c"]
