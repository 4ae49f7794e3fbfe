"""The challenge: who holds the token or secret can ask and answer, and nobody else learns anything. Pure."""

from __future__ import annotations

import hashlib
import hmac

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.challenge import Challenge, Kind, answer_challenge, make_challenge

TOKENS = ("first-token-0123456789", "second-token-0123456789")
SECRETS = ("first-secret-0123456789", "sécret \udc80")


def answered(challenge: Challenge, *, tokens: tuple[str, ...] = TOKENS, secrets: tuple[str, ...] = SECRETS) -> bytes:
    """What a receiver that holds these answers with."""
    return orjson.dumps({"challenge": answer_challenge(challenge.header, tokens=tokens, signing_secrets=secrets)})


@pytest.mark.parametrize(
    ("kind", "common"), [*(("token", token) for token in TOKENS), *(("signing secret", secret) for secret in SECRETS)]
)
def test_every_holder_can_answer(kind: Kind, common: str) -> None:
    """A receiver answers with any of its tokens and secrets, not only the first."""
    challenge = make_challenge(kind, common)
    assert challenge.is_answered_by(answered(challenge))


@pytest.mark.parametrize(
    ("kind", "common", "tokens", "secrets"),
    [
        ("token", "another-token-0123456789", TOKENS, SECRETS),
        ("token", SECRETS[0], TOKENS, SECRETS),
        ("signing secret", TOKENS[0], TOKENS, SECRETS),
        ("token", TOKENS[0], (), ()),
    ],
)
def test_nobody_else_gets_an_answer(kind: Kind, common: str, tokens: tuple[str, ...], secrets: tuple[str, ...]) -> None:
    """Another token, a secret in place of a token, and a receiver that holds nothing lead to no answer."""
    challenge = make_challenge(kind, common)
    assert answer_challenge(challenge.header, tokens=tokens, signing_secrets=secrets) is None


def test_nothing_secret_is_sent() -> None:
    """The token is neither in the header nor in the nonce, which takes its place in the path; no key is in the repr."""
    challenge = make_challenge("token", TOKENS[0])
    assert TOKENS[0] not in challenge.header + challenge.nonce
    assert "key" not in repr(challenge)


def test_no_nonce_is_used_twice() -> None:
    """An old answer does not fit a new challenge."""
    old, new = make_challenge("token", TOKENS[0]), make_challenge("token", TOKENS[0])
    assert old.nonce != new.nonce
    assert not new.is_answered_by(answered(old))


def test_a_challenge_is_not_its_own_answer() -> None:
    """A challenge that is sent back unchanged is no answer."""
    challenge = make_challenge("token", TOKENS[0])
    nonce, _, proof = challenge.header.partition(".")
    for echo in (nonce, proof, challenge.header):
        assert not challenge.is_answered_by(orjson.dumps({"challenge": echo}))


def test_no_proof_is_a_signature_of_konvox() -> None:
    """No proof is a signature of Konvox, because the keys are derived from the secret."""
    challenge = make_challenge("signing secret", SECRETS[0])
    answer = answer_challenge(challenge.header, tokens=(), signing_secrets=SECRETS)
    for text in (challenge.nonce, challenge.header, ""):
        signature = hmac.new(SECRETS[0].encode(), text.encode(), hashlib.sha256).hexdigest()
        assert signature not in {answer, challenge.header.rpartition(".")[2]}


@given(position=st.integers(0, 107), character=st.characters(codec="latin-1"))
def test_any_other_character_is_refused(position: int, character: str) -> None:
    """A changed character in the nonce, in the proof or between them makes the challenge invalid."""
    header = make_challenge("token", TOKENS[0]).header
    changed = header[:position] + character + header[position + 1 :]
    answer = answer_challenge(changed, tokens=TOKENS, signing_secrets=SECRETS)
    assert (answer is None) == (changed != header)


@given(header=st.text(), body=st.binary())
def test_no_input_raises_anything(header: str, body: bytes) -> None:
    """No header and no answer, of any bytes, raises an error."""
    assert answer_challenge(header, tokens=TOKENS, signing_secrets=SECRETS) is None
    assert not make_challenge("token", TOKENS[0]).is_answered_by(body)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"challenge": 1}', b'{"challenge": "\xc3\xa9"}', b'{"other": ""}'])
def test_json_of_another_shape_is_no_answer(body: bytes) -> None:
    """JSON that is not of our shape is no answer."""
    assert not make_challenge("token", TOKENS[0]).is_answered_by(body)
