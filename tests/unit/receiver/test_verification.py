"""Verification: what a request must show, decided from values alone."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from broker.records import Job, Record
from konvox.samples import sample_body
from konvox.signatures import sign_hmac_sha256
from receiver.errors import RefusedError
from receiver.responses import NOT_FOUND
from receiver.verification import KEPT_HEADERS, AccountPolicy, Verifier

TOKEN, SECRET, HEADER = "a-token-0123456789", "the-signing-secret", "X-Konvox-Signature"
BODY = sample_body("contact.replied", timestamp="2026-05-20T14:32:00.000Z")
LIMIT_BYTES = 1000
NOW_MS = 1_700_000_000_000

OPEN = AccountPolicy(tokens=[TOKEN], max_body_bytes=LIMIT_BYTES)
SIGNED = AccountPolicy(scheme="hmac-sha256", signing_secrets=[SECRET, "old-secret"], max_body_bytes=LIMIT_BYTES)

HEADER_VALUES = st.text(st.characters())
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([*KEPT_HEADERS, "Content-Length", "Content-Encoding", HEADER, "X-Other"]),
        HEADER_VALUES
        | st.sampled_from(["application/json", "identity", "gzip", "13", "9" * 5_000, "٣", "²", "+3", "-0", ""]),
    ),
    max_size=6,
).map(CIMultiDict)


def status_of(check: Any, *arguments: Any, **named: Any) -> int:
    """200 if it lets the request in, or else the status of the refusal."""
    try:
        check(*arguments, **named)
    except RefusedError as refused:
        return refused.response.status
    return 200


def record_of(policy: AccountPolicy, body: bytes, pairs: Any) -> Record:
    """The event of a body that holds one."""
    job = policy.read_events(body, pairs, received_at_ms=NOW_MS)
    assert isinstance(job, Job)
    assert job == Job.first(job.record)
    return job.record


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    """Headers of a request."""
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    ("policy", "token", "status"),
    [
        (OPEN, TOKEN, 200),
        (OPEN, TOKEN + "x", 404),
        (OPEN, "", 404),
        (OPEN, None, 404),
        (SIGNED, None, 200),
        (SIGNED, TOKEN, 404),
        (AccountPolicy(tokens=[TOKEN, "old"], scheme="hmac-sha256", signing_secrets=[SECRET]), "old", 200),
        (AccountPolicy(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET]), "old", 404),
        (AccountPolicy(), None, 404),
        (AccountPolicy(), "", 404),
    ],
)
def test_the_token(policy: AccountPolicy, token: str | None, status: int) -> None:
    """Any configured token is good, and a path without a token is taken only where a signature is to come."""
    assert policy.accepts_token(token) is (status == 200)
    assert status_of(Verifier([policy]).check_head, token, headers()) == status


def test_a_wrong_token_is_refused_like_an_unknown_path() -> None:
    """A wrong token gets the very answer that an unknown path gets."""
    with pytest.raises(RefusedError) as refused:
        Verifier([OPEN]).check_head("wrong", headers())
    assert refused.value.response is NOT_FOUND
    assert str(refused.value) == "404: not found"


def test_a_wrong_token_is_refused_before_the_headers_are_looked_at() -> None:
    """A wrong token is refused first, so a stranger does not learn what is wrong with the headers."""
    wrong = headers(("Content-Type", "text/plain"), ("Content-Length", "9" * 9))
    assert status_of(Verifier([OPEN]).check_head, "wrong", wrong) == 404
    assert status_of(Verifier([OPEN]).check_head, TOKEN, wrong) == 415


@given(st.text(st.characters()))
@example("\udcff")
def test_no_text_but_the_token_gets_in(token: str) -> None:
    """Every text but the configured token is refused."""
    assert OPEN.accepts_token(token) is (token == TOKEN)


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ([], 200),
        ([("content-type", "APPLICATION/JSON;charset=utf-8")], 200),
        ([("Content-Type", "application/vnd.konvox+json")], 200),
        ([("Content-Type", "")], 200),
        ([("Content-Type", "text/plain")], 415),
        ([("Content-Type", "application/jsonp")], 415),
        ([("Content-Type", "text/plain; application/json")], 415),
        ([("Content-Encoding", "identity")], 200),
        ([("Content-Encoding", " Identity ")], 200),
        ([("Content-Encoding", "gzip")], 415),
        ([("Content-Encoding", "identity"), ("Content-Encoding", "br")], 415),
        ([("Content-Encoding", "")], 415),
        ([("Content-Length", str(LIMIT_BYTES))], 200),
        ([("Content-Length", str(LIMIT_BYTES + 1))], 413),
        ([("Content-Length", "9" * 5_000)], 413),
        ([("Content-Type", "text/plain"), ("Content-Length", "9999")], 415),
    ],
)
def test_the_headers(pairs: list[tuple[str, str]], status: int) -> None:
    """A body that is not JSON, is compressed or too large is refused before a byte of it is read."""
    assert status_of(OPEN.check_headers, headers(*pairs)) == status


@pytest.mark.parametrize("policy", [OPEN, SIGNED])
@given(pairs=HEADERS, body=st.sampled_from([BODY, b"", gzip.compress(BODY), b"x" * 1001]) | st.binary(max_size=50))
@example(pairs=headers(("Content-Length", "²")), body=BODY)
@example(pairs=headers(("User-Agent", "\udcff")), body=BODY)
def test_no_request_raises_anything_but_a_refusal(policy: AccountPolicy, pairs: CIMultiDict[str], body: bytes) -> None:
    """Whatever its headers and its body are, a request is refused, or its event can be stored."""
    try:
        policy.check_headers(pairs)
        policy.check_body(body, pairs, received_at_ms=NOW_MS)
        record = record_of(policy, body, pairs)
    except RefusedError as refused:
        assert refused.response.status in {400, 401, 413, 415}  # noqa: PT017 - either outcome is right
    else:
        assert policy is OPEN
        assert Job.from_bytes(Job.first(record).to_bytes()).record == record
        assert Record.from_line(record.to_line(), now_ms=2) == record


@pytest.mark.parametrize(("size", "status"), [(LIMIT_BYTES, 200), (LIMIT_BYTES + 1, 413)])
def test_the_size_of_the_body(size: int, status: int) -> None:
    """The bytes of the body are counted, because a chunked body was not announced."""
    assert status_of(OPEN.check_body, b"x" * size, headers(), received_at_ms=NOW_MS) == status
    signature = (HEADER, sign_hmac_sha256(b"x" * size, secret=SECRET))
    assert status_of(SIGNED.check_body, b"x" * size, headers(signature), received_at_ms=NOW_MS) == status


def test_the_signature_is_over_the_raw_body() -> None:
    """The signature of any configured secret is good, and without a scheme none is asked for."""
    for secret in (SECRET, "old-secret"):
        SIGNED.check_body(BODY, headers((HEADER.lower(), sign_hmac_sha256(BODY, secret=secret))), received_at_ms=NOW_MS)
    for bad in ([], [(HEADER, "")], [(HEADER, sign_hmac_sha256(BODY + b" ", secret=SECRET))], [("X-Other", "a")]):
        assert status_of(SIGNED.check_body, BODY, headers(*bad), received_at_ms=NOW_MS) == 401
    OPEN.check_body(BODY, headers((HEADER, "nonsense")), received_at_ms=NOW_MS)


def test_the_signature_header_can_be_another() -> None:
    """Where another signature header is configured, the usual one does not count."""
    policy = AccountPolicy(scheme="hmac-sha256", signing_secrets=[SECRET], signature_header="X-Hub-Signature-256")
    signature = sign_hmac_sha256(BODY, secret=SECRET)
    policy.check_body(BODY, headers(("x-hub-signature-256", signature)), received_at_ms=NOW_MS)
    assert status_of(policy.check_body, BODY, headers((HEADER, signature)), received_at_ms=NOW_MS) == 401


@pytest.mark.parametrize(
    ("companies", "status"), [((), 200), (("clxyz123",), 200), (("a", "clxyz123"), 200), (("a",), 401)]
)
def test_the_company(companies: tuple[str, ...], status: int) -> None:
    """The company must be one of those that are listed; where none is listed, any is good."""
    policy = AccountPolicy(tokens=[TOKEN], company_ids=frozenset(companies))
    assert status_of(lambda: record_of(policy, BODY, headers())) == status


def test_a_company_by_another_name_is_none() -> None:
    """The company that counts is that of `companyId`, whatever else the body says."""
    policy = AccountPolicy(tokens=[TOKEN], company_ids=frozenset({"mine"}))
    body = b'{"event": "a", "company_id": "mine", "companyid": "mine", "data": {"companyId": "mine"}}'
    assert status_of(lambda: record_of(policy, body, headers())) == 401


def test_what_is_captured() -> None:
    """A record holds the exact body, and only the listed headers: no signature and no credential."""
    pairs = headers(
        ("CONTENT-TYPE", "application/json"),
        ("User-Agent", "Konvox/1.0"),
        ("Authorization", "Bearer s3cret"),
        ("Cookie", "s3cret"),
        ("X-API-Key", "s3cret"),
        (HEADER, sign_hmac_sha256(BODY, secret=SECRET)),
    )
    record = record_of(OPEN, BODY, pairs)
    assert record.raw == BODY
    assert record.type == "contact.replied"
    assert record.received_at_ms == NOW_MS
    assert record.headers == {"content-type": "application/json", "user-agent": "Konvox/1.0"}


def test_a_header_that_is_no_utf8_is_captured_as_well_as_it_can_be() -> None:
    """A character that is not UTF-8 is replaced, and the others are kept."""
    record = record_of(OPEN, BODY, headers(("User-Agent", "Kön\udcffvox")))
    assert record.headers == {"user-agent": "Kön?vox"}


def test_no_secret_shows_in_a_policys_repr() -> None:
    """The repr, which may end up in a log or a traceback, holds neither token nor secret."""
    shown = repr(AccountPolicy(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET]))
    assert TOKEN not in shown
    assert SECRET not in shown


def test_an_account_is_found_by_its_token() -> None:
    """Each token leads to its own account, and a token of no account is not found."""
    verifier = Verifier(
        [
            AccountPolicy(account="acme", tokens=["acme-token"]),
            AccountPolicy(account="globex", tokens=["globex-token"]),
        ]
    )
    assert [policy.account for policy in verifier.check_head("globex-token", headers())] == ["globex"]
    assert status_of(verifier.check_head, "other", headers()) == 404
    assert status_of(verifier.check_head, None, headers()) == 404


def test_without_a_token_the_signature_finds_the_account() -> None:
    """An event belongs to the account whose secret verifies it, and a signature of no account is refused."""
    names = ("acme", "globex")
    verifier = Verifier([AccountPolicy(account=name, scheme="hmac-sha256", signing_secrets=[name]) for name in names])
    candidates = verifier.check_head(None, headers())
    for name in names:
        signed = headers((HEADER, sign_hmac_sha256(BODY, secret=name)))
        job = verifier.read(candidates, signed, BODY, received_at_ms=NOW_MS)
        assert isinstance(job, Job)
        assert job.record.account == name
    forged = headers((HEADER, sign_hmac_sha256(BODY, secret="guessed")))
    assert status_of(verifier.read, candidates, forged, BODY, received_at_ms=NOW_MS) == 401


def test_a_token_can_be_required_beside_the_signature() -> None:
    """With `needs_token`, a path without a token is not found, whatever its signature."""
    policy = AccountPolicy(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET], needs_token=True)
    assert not policy.accepts_token(None)
    assert policy.accepts_token(TOKEN)


def test_with_standard_webhooks_the_id_is_minted_from_the_webhook_id() -> None:
    """The same `webhook-id` makes the same event id, whatever the body is; without the scheme it is ignored."""
    named = headers(("webhook-id", "msg_1"))
    policy = AccountPolicy(scheme="standard-webhooks", signing_secrets=["whsec_c2VjcmV0"])
    other = sample_body("contact.replied", timestamp="2026-01-01T00:00:00.000Z")
    first, second = (record_of(policy, body, named).id for body in (BODY, other))
    assert first == second
    assert record_of(OPEN, BODY, named).id != first


def test_the_largest_body_of_all_accounts_is_the_listeners() -> None:
    """The listener's limit is the largest of all accounts, because aiohttp must let through what any takes."""
    small, large = AccountPolicy(max_body_bytes=10), AccountPolicy(max_body_bytes=20)
    assert Verifier([small, large]).max_body_bytes == Verifier([large, small]).max_body_bytes == 20
