"""The gate: what a request must show, decided from values alone."""

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
from receiver.errors import RefusedError, not_found
from receiver.verification import KEPT_HEADERS, AccountPolicy, AccountRouter, check_body, masked_path

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
        return refused.status
    return 200


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    """Headers of a request."""
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    ("gate", "token", "status"),
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
def test_the_token(gate: AccountPolicy, token: str | None, status: int) -> None:
    """Any configured one; a path without a token only where there is a signature to come."""
    assert status_of(gate.check_token, token) == status


def test_a_wrong_token_is_refused_like_an_unknown_path() -> None:
    """With the same words."""
    with pytest.raises(RefusedError) as refused:
        OPEN.check_token("wrong")
    unknown = not_found()
    assert (refused.value.status, refused.value.reason) == (unknown.status, unknown.reason)
    assert str(refused.value) == "404: not found"


@given(st.text(st.characters()))
@example("\udcff")
def test_no_text_but_the_token_gets_in(token: str) -> None:
    """Whatever a path holds."""
    assert status_of(OPEN.check_token, token) == (200 if token == TOKEN else 404)


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
    """JSON, not compressed, not too large: seen before a byte of the body is read."""
    assert status_of(OPEN.check_headers, headers(*pairs)) == status


@pytest.mark.parametrize("gate", [OPEN, SIGNED])
@given(pairs=HEADERS, body=st.sampled_from([BODY, b"", gzip.compress(BODY), b"x" * 1001]) | st.binary(max_size=50))
@example(pairs=headers(("Content-Length", "²")), body=BODY)
@example(pairs=headers(("User-Agent", "\udcff")), body=BODY)
def test_no_request_raises_anything_but_a_refusal(gate: AccountPolicy, pairs: CIMultiDict[str], body: bytes) -> None:
    """Whatever its headers and its body are; and what gets in can be stored."""
    try:
        gate.check_headers(pairs)
        gate.check_body(body, pairs, received_at_ms=NOW_MS)
        record = gate.read_event(body, pairs, received_at_ms=1)
    except RefusedError as refused:
        assert refused.status in {400, 401, 413, 415}  # noqa: PT017 - either outcome is right
    else:
        assert gate is OPEN
        assert Job.from_bytes(Job.first(record).to_bytes()).record == record
        assert Record.from_line(record.to_line(), now_ms=2) == record


@pytest.mark.parametrize(("size", "status"), [(LIMIT_BYTES, 200), (LIMIT_BYTES + 1, 413)])
def test_the_size_of_the_body(size: int, status: int) -> None:
    """Counted, since a chunked one was not announced."""
    assert status_of(OPEN.check_body, b"x" * size, headers(), received_at_ms=NOW_MS) == status
    signature = (HEADER, sign_hmac_sha256(b"x" * size, secret=SECRET))
    assert status_of(SIGNED.check_body, b"x" * size, headers(signature), received_at_ms=NOW_MS) == status


def test_the_signature_is_over_the_raw_body() -> None:
    """Of any configured secret; without a scheme nobody asks for one."""
    for secret in (SECRET, "old-secret"):
        SIGNED.check_body(BODY, headers((HEADER.lower(), sign_hmac_sha256(BODY, secret=secret))), received_at_ms=NOW_MS)
    for bad in ([], [(HEADER, "")], [(HEADER, sign_hmac_sha256(BODY + b" ", secret=SECRET))], [("X-Other", "a")]):
        assert status_of(SIGNED.check_body, BODY, headers(*bad), received_at_ms=NOW_MS) == 401
    OPEN.check_body(BODY, headers((HEADER, "nonsense")), received_at_ms=NOW_MS)


def test_the_signature_header_can_be_another() -> None:
    """And then the usual one does not count."""
    gate = AccountPolicy(scheme="hmac-sha256", signing_secrets=[SECRET], signature_header="X-Hub-Signature-256")
    signature = sign_hmac_sha256(BODY, secret=SECRET)
    gate.check_body(BODY, headers(("x-hub-signature-256", signature)), received_at_ms=NOW_MS)
    assert status_of(gate.check_body, BODY, headers((HEADER, signature)), received_at_ms=NOW_MS) == 401


@pytest.mark.parametrize(
    ("companies", "status"), [((), 200), (("clxyz123",), 200), (("a", "clxyz123"), 200), (("a",), 401)]
)
def test_the_company(companies: tuple[str, ...], status: int) -> None:
    """One of those that are listed; any where none is."""
    gate = AccountPolicy(tokens=[TOKEN], company_ids=frozenset(companies))
    assert status_of(lambda: gate.read_event(BODY, headers(), received_at_ms=1)) == status


def test_a_company_by_another_name_is_none() -> None:
    """The company that counts is that of `companyId`, whatever else the body says."""
    gate = AccountPolicy(tokens=[TOKEN], company_ids=frozenset({"mine"}))
    body = b'{"event": "a", "company_id": "mine", "companyid": "mine", "data": {"companyId": "mine"}}'
    assert status_of(lambda: gate.read_event(body, headers(), received_at_ms=1)) == 401


def test_what_is_captured() -> None:
    """The exact body, and of the headers only those that are listed: no signature and no credential."""
    pairs = headers(
        ("CONTENT-TYPE", "application/json"),
        ("User-Agent", "Konvox/1.0"),
        ("Authorization", "Bearer s3cret"),
        ("Cookie", "s3cret"),
        ("X-API-Key", "s3cret"),
        (HEADER, sign_hmac_sha256(BODY, secret=SECRET)),
    )
    record = OPEN.read_event(BODY, pairs, received_at_ms=1_779_287_520_000)
    assert record.raw == BODY
    assert record.type == "contact.replied"
    assert record.received_at_ms == 1_779_287_520_000
    assert record.headers == {"content-type": "application/json", "user-agent": "Konvox/1.0"}


def test_a_header_that_is_no_utf8_is_captured_as_well_as_it_can_be() -> None:
    """Its other characters are kept."""
    record = OPEN.read_event(BODY, headers(("User-Agent", "Kön\udcffvox")), received_at_ms=1)
    assert record.headers == {"user-agent": "Kön?vox"}


def test_no_secret_shows_in_the_gates_repr() -> None:
    """It may end up in a log or in a traceback."""
    shown = repr(AccountPolicy(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET]))
    assert TOKEN not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("/healthz", "/healthz"),
        ("/hooks/konvox", "/hooks/konvox"),
        ("/hooks/konvox/a-token", "/hooks/konvox/***"),
        ("/a-token", "/***"),
        ("/hooks/a-token/konvox", "/hooks/***/konvox"),
        ("//hooks//konvox/a-token/", "//hooks//konvox/***/"),
        ("", ""),
        ("*", "***"),
    ],
)
def test_paths_are_masked_for_the_log(path: str, masked: str) -> None:
    """Whatever may be a token is left out, wherever it stands."""
    assert masked_path(path) == masked


@given(st.lists(st.text(st.characters())).map("/".join))
def test_nothing_unknown_is_left_in_a_masked_path(path: str) -> None:
    """Only our own words, and slashes."""
    assert set(masked_path(path).split("/")) <= {"", "hooks", "konvox", "healthz", "***"}


def test_an_endpoint_is_found_by_its_token() -> None:
    """Each token leads to its own account, and what leads to none is not found."""
    house = AccountRouter(
        [
            AccountPolicy(account="acme", tokens=["acme-token"]),
            AccountPolicy(account="globex", tokens=["globex-token"]),
        ]
    )
    assert [gate.account for gate in house.candidates("globex-token")] == ["globex"]
    assert status_of(house.candidates, "other") == 404
    assert status_of(house.candidates, None) == 404


def test_without_a_token_the_signature_finds_the_endpoint() -> None:
    """Whose secret verifies is whose event it is; a signature of nobody's is refused."""
    gates = [AccountPolicy(account=name, scheme="hmac-sha256", signing_secrets=[name]) for name in ("acme", "globex")]
    candidates = AccountRouter(gates).candidates(None)
    for name in ("acme", "globex"):
        signed = headers((HEADER, sign_hmac_sha256(BODY, secret=name)))
        gate = check_body(candidates, BODY, signed, received_at_ms=NOW_MS)
        assert gate.account == gate.read_event(BODY, signed, received_at_ms=NOW_MS).account == name
    forged = headers((HEADER, sign_hmac_sha256(BODY, secret="guessed")))
    assert status_of(check_body, candidates, BODY, forged, received_at_ms=NOW_MS) == 401


def test_a_token_can_be_required_beside_the_signature() -> None:
    """With `needs_token`, a path without a token is not found, whoever signed."""
    gate = AccountPolicy(tokens=[TOKEN], scheme="hmac-sha256", signing_secrets=[SECRET], needs_token=True)
    assert status_of(gate.check_token, None) == 404
    assert status_of(gate.check_token, TOKEN) == 200


def test_with_standard_webhooks_the_id_is_minted_from_the_webhook_id() -> None:
    """The same message id is the same event, whatever the body says; without the scheme the header is not believed."""
    named = headers(("webhook-id", "msg_1"))
    gate = AccountPolicy(scheme="standard-webhooks", signing_secrets=["whsec_c2VjcmV0"])
    other = sample_body("contact.replied", timestamp="2026-01-01T00:00:00.000Z")
    first, second = (gate.read_event(body, named, received_at_ms=NOW_MS).id for body in (BODY, other))
    assert first == second
    assert OPEN.read_event(BODY, named, received_at_ms=NOW_MS).id != first
