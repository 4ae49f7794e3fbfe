"""Tests of the signature schemes `timestamped` and `standard-webhooks`, and of all schemes by name."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from standardwebhooks.webhooks import Webhook

from konvox.errors import SignatureError
from konvox.schemes import (
    DEFAULT_SCHEME,
    MESSAGE_ID_HEADER,
    SCHEMES,
    STANDARD_SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Delivery,
    SchemeName,
)
from konvox.signatures import TOLERANCE_SECONDS, sign_timestamped, verify_timestamped

HEADER = "X-Konvox-Signature"
NOW = 1_614_265_330

# The example of the Standard Webhooks specification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

names = st.sampled_from(sorted(SCHEMES))
secrets = st.binary(min_size=1, max_size=40).map(lambda key: "whsec_" + base64.b64encode(key).decode())
header_texts = st.text(st.characters(codec=None), max_size=60)


def standard_headers(**changes: str) -> CIMultiDict[str]:
    """The headers of the specification's example, with some of them changed."""
    headers = {MESSAGE_ID_HEADER: MESSAGE_ID, TIMESTAMP_HEADER: str(NOW), STANDARD_SIGNATURE_HEADER: SIGNATURE}
    return CIMultiDict(headers | {f"webhook-{name}": value for name, value in changes.items()})


def verify_standard(headers: CIMultiDict[str], *, now_seconds: int = NOW, body: bytes = BODY) -> None:
    """Verify with the specification's secret."""
    scheme = SCHEMES["standard-webhooks"]
    scheme.verify(body, headers, header=HEADER, secrets=["whsec_b2xk", SECRET], now_seconds=now_seconds)


def test_the_example_of_the_specification_is_signed_and_verified() -> None:
    """The specification's example is signed and verified as published."""
    verify_standard(standard_headers())
    signed = SCHEMES["standard-webhooks"].sign(Delivery(BODY, MESSAGE_ID, NOW), header=HEADER, secret=SECRET)
    assert dict(signed) == dict(standard_headers())


@pytest.mark.parametrize(
    "signature", [f"v2,{SIGNATURE[3:]}", f"v1,h{SIGNATURE[4:]}", SIGNATURE[3:], "v1,", "v1", "", "v1,ÿ"]
)
def test_what_is_not_the_signature_is_refused(signature: str) -> None:
    """Another version, a changed character, no version and no signature are each refused."""
    with pytest.raises(SignatureError):
        verify_standard(standard_headers(signature=signature))


def test_a_good_signature_among_bad_ones_is_enough() -> None:
    """One good signature among bad ones is enough: during a rotation a sender signs with two secrets."""
    verify_standard(standard_headers(signature=f"v1,AAAA v2,zzz {SIGNATURE} v1,{'A' * 43}="))


@pytest.mark.parametrize("off_seconds", [TOLERANCE_SECONDS, -TOLERANCE_SECONDS])
@pytest.mark.parametrize("name", ["timestamped", "standard-webhooks"])
def test_a_signature_is_good_for_five_minutes_either_way(name: SchemeName, off_seconds: int) -> None:
    """A signature is valid for 300 s before and after its time, and no longer, which prevents replay attacks."""
    scheme = SCHEMES[name]
    headers = CIMultiDict(scheme.sign(Delivery(BODY, MESSAGE_ID, NOW), header=HEADER, secret=SECRET))
    scheme.verify(BODY, headers, header=HEADER, secrets=[SECRET], now_seconds=NOW + off_seconds)
    beyond = NOW + off_seconds + (1 if off_seconds > 0 else -1)
    with pytest.raises(SignatureError, match="300 s"):
        scheme.verify(BODY, headers, header=HEADER, secrets=[SECRET], now_seconds=beyond)


@pytest.mark.parametrize("doubled", [MESSAGE_ID_HEADER, TIMESTAMP_HEADER, STANDARD_SIGNATURE_HEADER])
def test_a_header_that_is_missing_or_doubled_is_refused(doubled: str) -> None:
    """Each of the three headers must be present exactly once."""
    headers = standard_headers()
    headers.add(doubled, headers[doubled])
    with pytest.raises(SignatureError, match="more than once"):
        verify_standard(headers)
    headers.popall(doubled)
    with pytest.raises(SignatureError, match="missing"):
        verify_standard(headers)


def test_several_timestamped_signatures_may_stand() -> None:
    """One good `v1` signature among others is enough, and parts with other names are ignored."""
    good = sign_timestamped(BODY, secret="new", now_seconds=NOW)
    header = f"v0=abc,v1={'0' * 64},{good},v1=zz"
    verify_timestamped(BODY, [header], secrets=["old", "new"], now_seconds=NOW)


@pytest.mark.parametrize(
    "header",
    ["", "t=,v1=", "t=1614265330", "v1=" + "0" * 64, "t=+1614265330,v1=00", "t=1e9"],
)
def test_malformed_timestamped_headers_are_refused(header: str) -> None:
    """A header without a time, with a time that is no plain number, or without a signature is refused."""
    with pytest.raises(SignatureError):
        verify_timestamped(BODY, [header], secrets=["s"], now_seconds=NOW)


def test_a_second_time_is_refused_although_the_signature_is_good() -> None:
    """A header with two times is refused, the same or another, before or after the good signature's own."""
    good = sign_timestamped(BODY, secret="s", now_seconds=NOW)
    verify_timestamped(BODY, [good], secrets=["s"], now_seconds=NOW)
    for header in (f"{good},t={NOW}", f"t={NOW},{good}", f"{good},t={NOW + 1}", f"t={NOW + 1},{good}", f"{good},t="):
        with pytest.raises(SignatureError, match="one time"):
            verify_timestamped(BODY, [header], secrets=["s"], now_seconds=NOW)


def test_the_names_of_the_schemes_are_one_list() -> None:
    """Every name is a scheme, and the default is one of them."""
    assert tuple(SCHEMES) == get_args(SchemeName)
    assert DEFAULT_SCHEME in SCHEMES


@given(names, st.binary(max_size=200), secrets, st.integers(0, 10**11))
def test_what_is_signed_verifies(name: SchemeName, body: bytes, secret: str, now_seconds: int) -> None:
    """Each scheme verifies what it has signed, also if there are other secrets."""
    scheme = SCHEMES[name]
    headers = CIMultiDict(scheme.sign(Delivery(body, "msg_1", now_seconds), header=HEADER, secret=secret))
    scheme.verify(body, headers, header=HEADER, secrets=["whsec_b3RoZXI=", secret], now_seconds=now_seconds)


@given(names, st.binary(min_size=1, max_size=100), secrets, st.data())
def test_any_changed_byte_is_noticed(name: SchemeName, body: bytes, secret: str, data: st.DataObject) -> None:
    """A body with one changed byte does not verify."""
    scheme = SCHEMES[name]
    headers = CIMultiDict(scheme.sign(Delivery(body, "msg_1", NOW), header=HEADER, secret=secret))
    position = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureError):
        scheme.verify(bytes(changed), headers, header=HEADER, secrets=[secret], now_seconds=NOW)


@given(names, st.binary(max_size=50), st.lists(header_texts, max_size=3), header_texts, header_texts)
def test_no_input_raises_anything_else(
    name: SchemeName, body: bytes, signatures: list[str], message_id: str, timestamp: str
) -> None:
    """Any headers, with lone surrogates too, raise nothing but `SignatureError`."""
    headers: CIMultiDict[str] = CIMultiDict([(MESSAGE_ID_HEADER, message_id), (TIMESTAMP_HEADER, timestamp)])
    for signature in signatures:
        headers.add(HEADER, signature)
        headers.add(STANDARD_SIGNATURE_HEADER, signature)
    with pytest.raises(SignatureError):
        SCHEMES[name].verify(body, headers, header=HEADER, secrets=[SECRET], now_seconds=NOW)


@given(st.text(max_size=100), secrets)
def test_the_reference_library_agrees(text: str, secret: str) -> None:
    """Our code and the library `standardwebhooks` verify each other's signatures."""
    moment = datetime.now(UTC).replace(microsecond=0)
    now_seconds = int(moment.timestamp())
    reference = Webhook(secret)
    body = b'{"text": "%s"}' % base64.b64encode(text.encode("utf-8", "surrogatepass"))
    theirs = reference.sign(MESSAGE_ID, moment, body.decode())
    headers = standard_headers(timestamp=str(now_seconds), signature=theirs)
    SCHEMES["standard-webhooks"].verify(body, headers, header=HEADER, secrets=[secret], now_seconds=now_seconds)
    ours = SCHEMES["standard-webhooks"].sign(Delivery(body, MESSAGE_ID, now_seconds), header=HEADER, secret=secret)
    reference.verify(body, dict(ours))
