"""The events that the benchmarks send: as Konvox sends them, signed, and no two alike. And when their handlers ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness.workload import (
    EVENT_TYPE,
    SECRET,
    SIGNATURE_HEADER,
    bodies,
    contact_ids,
    mark,
    read_marks,
    signed_requests,
)
from konvox.samples import sample_body, sample_data
from konvox.signatures import sign_hmac_sha256


def test_bodies_are_sample_bodies_of_these_contacts() -> None:
    """A body that is put together from pieces equals the sample body of its contact."""
    samples = [
        sample_body(
            EVENT_TYPE, data={**sample_data(EVENT_TYPE), "contactId": contact}, timestamp="2026-05-20T14:32:00.000Z"
        )
        for contact in contact_ids(3, series="live")
    ]
    assert list(bodies(3, series="live")) == samples
    assert len({*samples, *bodies(3)}) == 6


def test_requests_are_signed() -> None:
    """Each request has the signature of its own body."""
    for request, body in zip(signed_requests(2, port=80), bodies(2), strict=True):
        head, _, sent = request.partition(b"\r\n\r\n")
        assert sent == body
        assert f"{SIGNATURE_HEADER}: {sign_hmac_sha256(body, secret=SECRET)}".encode() in head.split(b"\r\n")


def test_marks_are_read_up_to_the_last_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that a handler is just writing is not read."""
    marks = tmp_path / "marks"
    monkeypatch.setenv("MARKS", str(marks))
    mark("c1")
    mark("c1")
    mark("c2")
    with marks.open("a") as file:
        file.write("c3 12")
    assert {contact: len(times) for contact, times in read_marks(marks).items()} == {"c1": 2, "c2": 1}
