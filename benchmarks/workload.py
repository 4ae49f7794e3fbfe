"""The events that everybody is given: distinct bodies as Konvox sends them, and their signatures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from konvox.samples import sample_body, sample_data
from konvox.signatures import sign_hmac_sha256

EVENT_TYPE = "contact.replied"
PATH = "/hooks/konvox"
SIGNATURE_HEADER = "X-Konvox-Signature"
SECRET = "benchmarks-sign-with-this"
_PLACE = "{contact_id}"


def bodies(count: int, *, series: str = "", padding_bytes: int = 0) -> Iterator[bytes]:
    """`count` bodies of about 230 bytes and the padding, no two alike; those of another series are others."""
    data = {**sample_data(EVENT_TYPE), "contactId": _PLACE}
    if padding_bytes:
        data["subject"] = "s" * padding_bytes
    body = sample_body(EVENT_TYPE, data=data, timestamp="2026-05-20T14:32:00.000Z")
    before, _, after = body.partition(_PLACE.encode())
    for contact_id in contact_ids(count, series=series):
        yield before + contact_id.encode() + after


def contact_ids(count: int, *, series: str = "") -> Iterator[str]:
    """What tells these bodies apart."""
    for number in range(count):
        yield f"clcontact{series}{number:08d}"


def batches(bodies: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """The bodies in lists of that size, the last one shorter."""
    pending = iter(bodies)
    while batch := list(islice(pending, size)):
        yield batch


def requests(count: int, *, port: int, series: str = "", padding_bytes: int = 0) -> Iterator[bytes]:
    """`count` whole HTTP requests, signed, ready to be written to a socket."""
    return (_request(body, port) for body in bodies(count, series=series, padding_bytes=padding_bytes))


def _request(body: bytes, port: int) -> bytes:
    head = (
        f"POST {PATH} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        "User-Agent: Konvox-Webhooks/1.0\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{SIGNATURE_HEADER}: {sign_hmac_sha256(body, secret=SECRET)}\r\n\r\n"
    )
    return head.encode("ascii") + body
