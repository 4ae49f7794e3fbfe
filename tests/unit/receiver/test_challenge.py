"""The challenge: who holds the token or secret can ask and answer, and nobody else learns anything. Pure."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.challenge import (
    ANSWER_SECONDS,
    Answer,
    AnsweredChallenges,
    Challenge,
    Holder,
    Kind,
    answer_challenge,
    make_challenge,
)

TOKENS = ("first-token-0123456789", "second-token-0123456789")
SECRETS = ("first-secret-0123456789", "sécret \udc80")
ORIGIN = "https://hooks.example.com"
NOW = 1_800_000_000


def ask(kind: Kind = "token", common: str = TOKENS[0], origin: str = ORIGIN, now_seconds: int = NOW) -> Challenge:
    """A challenge."""
    return make_challenge(kind, common, origin, now_seconds=now_seconds)


def answer(
    challenge: Challenge | str,
    *,
    tokens: tuple[str, ...] = TOKENS,
    secrets: tuple[str, ...] = SECRETS,
    public_url: str | None = ORIGIN,
    host: str | None = "hooks.example.com",
    token: str | None = "the one in the URL",
    now_seconds: int = NOW,
) -> Answer | None:
    """What a receiver that holds these answers."""
    header = challenge if isinstance(challenge, str) else challenge.header
    if token == "the one in the URL" and isinstance(challenge, Challenge):
        token = challenge.url.removeprefix(challenge.url.partition("/hooks/konvox")[0] + "/hooks/konvox")[1:] or None
    holders = [Holder(tokens, secrets, public_url)]
    return answer_challenge(header, holders, token=token, host=host, now_seconds=now_seconds)


def body_of(given: Answer | None) -> bytes:
    """The body of an answer."""
    return orjson.dumps({"challenge": given and given.proof})


@pytest.mark.parametrize(
    ("kind", "common"), [*(("token", token) for token in TOKENS), *(("signing secret", secret) for secret in SECRETS)]
)
def test_every_holder_can_answer(kind: Kind, common: str) -> None:
    """A receiver answers with any of its tokens and secrets, not only the first."""
    challenge = ask(kind, common)
    assert challenge.is_answered_by(body_of(answer(challenge)))


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
    assert answer(ask(kind, common), tokens=tokens, secrets=secrets) is None


@pytest.mark.parametrize(
    ("origin", "public_url", "host", "answers"),
    [
        ("https://hooks.example.com", "https://hooks.example.com", "other.example.com", True),
        ("https://hooks.example.com", "https://hooks.example.com:443", None, True),
        ("https://evil.example.com", "https://hooks.example.com", "hooks.example.com", False),
        ("https://evil.example.com", "https://hooks.example.com", "evil.example.com", False),
        ("https://hooks.example.com:8443", "https://hooks.example.com", "hooks.example.com", False),
        ("http://hooks.example.com", "https://hooks.example.com", "hooks.example.com", False),
        ("https://hooks.example.com", None, "hooks.example.com", True),
        ("https://hooks.example.com", None, "hooks.example.com:8443", True),
        ("https://hooks.example.com", None, "127.0.0.1:8080", True),
        ("https://hooks.example.com", None, "[::1]:8080", True),
        ("https://hooks.example.com", None, "receiver:8080", True),
        ("https://hooks.example.com", None, None, True),
        ("https://evil.example.com", None, "hooks.example.com", False),
    ],
)
def test_a_challenge_is_answered_only_at_its_own_url(
    origin: str, public_url: str | None, host: str | None, answers: bool
) -> None:
    """A challenge that was made for another site gets no answer from our receiver."""
    assert (answer(ask(origin=origin), public_url=public_url, host=host) is not None) is answers


@pytest.mark.parametrize("kind", ["token", "signing secret"])
@pytest.mark.parametrize("token", [None, "another-nonce"])
def test_a_challenge_is_answered_only_at_its_own_path(kind: Kind, token: str | None) -> None:
    """The nonce stands in the path where a token would, and nothing where there is none."""
    challenge = ask(kind, TOKENS[0] if kind == "token" else SECRETS[0])
    assert (answer(challenge, token=token) is not None) is (kind == "signing secret" and token is None)


@pytest.mark.parametrize(
    ("seconds", "answers"), [(0, True), (ANSWER_SECONDS, True), (ANSWER_SECONDS + 1, False), (10**6, False)]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_old_challenge_is_not_answered(seconds: int, answers: bool, sign: int) -> None:
    """A challenge is of use for some minutes, and one from the future no longer."""
    assert (answer(ask(), now_seconds=NOW + sign * seconds) is not None) is answers


@pytest.mark.parametrize("in_a_folder", [True, False])
def test_a_challenge_is_answered_once(tmp_path: Path, in_a_folder: bool) -> None:
    """Each nonce is met once, by all processes together if they have a folder; what is old is forgotten."""
    folder = tmp_path / "new" / "challenges" if in_a_folder else None
    first, second = AnsweredChallenges(folder), AnsweredChallenges(folder)
    assert first.is_first("nonce", NOW, now_seconds=NOW)
    assert not first.is_first("nonce", NOW, now_seconds=NOW)
    assert second.is_first("nonce", NOW, now_seconds=NOW) is not in_a_folder
    later = NOW + ANSWER_SECONDS + 1
    assert first.is_first("another", later, now_seconds=later)
    if folder is not None:
        assert len(list(folder.iterdir())) == 1
        assert folder.stat().st_mode & 0o777 == 0o700
        assert "another" not in str(list(folder.iterdir()))


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """A holder who asks without end gets no further answers, and a folder that cannot be used does no harm."""
    (tmp_path / "file").write_text("")
    remembered = AnsweredChallenges(tmp_path / "file" / "folder")
    answered = [remembered.is_first(f"nonce {number}", NOW, now_seconds=NOW) for number in range(1_010)]
    assert (answered.count(True), answered[-1]) == (1_000, False)


def test_nothing_secret_is_sent() -> None:
    """The token is neither in the header nor in the URL, where a nonce takes its place; no answer is in the repr."""
    challenge = ask()
    assert TOKENS[0] not in challenge.header + challenge.url
    assert "answer" not in repr(challenge)


def test_no_nonce_is_used_twice() -> None:
    """An old answer does not fit a new challenge."""
    old, new = ask(), ask()
    assert old.url != new.url
    assert not new.is_answered_by(body_of(answer(old)))


def test_a_challenge_is_not_its_own_answer() -> None:
    """Sending everything back is no answer."""
    challenge = ask()
    for echo in (*challenge.header.split("."), challenge.header):
        assert not challenge.is_answered_by(orjson.dumps({"challenge": echo}))


def test_no_proof_is_a_signature_of_konvox() -> None:
    """The keys are derived: neither side ever signs a nonce with the secret itself."""
    challenge = ask("signing secret", SECRETS[0])
    given = answer(challenge, tokens=())
    assert given is not None
    for text in (*challenge.header.split("."), challenge.header, challenge.url, ""):
        signature = hmac.new(SECRETS[0].encode(), text.encode(), hashlib.sha256).hexdigest()
        assert signature not in {given.proof, challenge.header.rpartition(".")[2]}


@given(position=st.integers(0, 153), character=st.characters(codec="latin-1"))
def test_any_other_character_is_refused(position: int, character: str) -> None:
    """A changed character in the nonce, the time, the origin, the proof or between them makes it invalid."""
    challenge = ask()
    header = challenge.header
    changed = header[:position] + character + header[position + 1 :]
    token = challenge.url.rpartition("/")[2]
    assert (answer(changed, token=token) is None) == (changed != header)


@given(header=st.text(), body=st.binary())
def test_whatever_comes_nothing_is_raised(header: str, body: bytes) -> None:
    """No header and no answer raises an error."""
    assert answer(header) is None
    assert not ask().is_answered_by(body)


@given(origin=st.text(max_size=40))
def test_no_origin_raises(origin: str) -> None:
    """A challenge for any origin, of any text, raises no error."""
    challenge = ask(origin=origin)
    for public_url in (ORIGIN, None):
        answer(challenge, public_url=public_url, host=origin)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"challenge": 1}', b'{"challenge": "\xc3\xa9"}', b'{"other": ""}'])
def test_json_of_another_shape_is_no_answer(body: bytes) -> None:
    """JSON that is not of our shape is no answer."""
    assert not ask().is_answered_by(body)
