"""The events that the benchmarks send: as Konvox sends them, signed, and no two alike."""

from __future__ import annotations

from benchmarks.workload import EVENT_TYPE, SECRET, SIGNATURE_HEADER, bodies, contact_ids, requests
from konvox.samples import sample_body, sample_data
from konvox.signatures import sign_hmac_sha256


def test_bodies_are_sample_bodies_of_these_contacts() -> None:
    """They are put together from pieces, because that is cheap; nobody can tell."""
    samples = [
        sample_body(
            EVENT_TYPE, data={**sample_data(EVENT_TYPE), "contactId": contact}, timestamp="2026-05-20T14:32:00.000Z"
        )
        for contact in contact_ids(3, series="live")
    ]
    assert list(bodies(3, series="live")) == samples
    assert len({*samples, *bodies(3)}) == 6


def test_requests_are_signed() -> None:
    """Each with the signature of its own body."""
    for request, body in zip(requests(2, port=80), bodies(2), strict=True):
        head, _, sent = request.partition(b"\r\n\r\n")
        assert sent == body
        assert f"{SIGNATURE_HEADER}: {sign_hmac_sha256(body, secret=SECRET)}".encode() in head.split(b"\r\n")
