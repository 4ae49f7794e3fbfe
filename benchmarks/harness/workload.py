"""What every contender gets, and what it gives back: distinct events as Konvox sends them, and when their handlers ran.

The environments of our peers hold this module, so it imports nothing of ours but `konvox`.
"""

import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from konvox.samples import sample_body, sample_data
from konvox.signatures import sign_hmac_sha256

EVENT_TYPE = "contact.replied"
PATH = "/hooks/konvox"
SIGNATURE_HEADER = "X-Konvox-Signature"
SECRET = "benchmarks-sign-with-this"
_PLACE = "{contact_id}"


def bodies(count: int, *, series: str = "", padding_bytes: int = 0) -> Iterator[bytes]:
    """`count` bodies of about 230 bytes and the padding. No two are alike, within a series and between series."""
    data = {**sample_data(EVENT_TYPE), "contactId": _PLACE}
    if padding_bytes:
        data["subject"] = "s" * padding_bytes
    body = sample_body(EVENT_TYPE, data=data, timestamp="2026-05-20T14:32:00.000Z")
    before, _, after = body.partition(_PLACE.encode())
    for contact_id in contact_ids(count, series=series):
        yield before + contact_id.encode() + after


def contact_ids(count: int, *, series: str = "") -> Iterator[str]:
    """The contacts of these bodies, in their order."""
    for number in range(count):
        yield f"clcontact{series}{number:08d}"


def signed_requests(count: int, *, port: int, series: str = "", padding_bytes: int = 0) -> Iterator[bytes]:
    """`count` whole HTTP requests, signed, ready to be written to a socket."""
    for body in bodies(count, series=series, padding_bytes=padding_bytes):
        head = (
            f"POST {PATH} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{port}\r\n"
            "User-Agent: Konvox-Webhooks/1.0\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"{SIGNATURE_HEADER}: {sign_hmac_sha256(body, secret=SECRET)}\r\n\r\n"
        )
        yield head.encode("ascii") + body


def mark(contact_id: str | None) -> None:
    """Write down that the handler of this contact's event starts now, as a line in the file that MARKS names.

    All contenders write it alike. The clock is CLOCK_MONOTONIC, which all processes of a machine share (Node's
    `process.hrtime` reads it too).
    """
    now = time.monotonic_ns()
    os.write(_marks(), f"{contact_id} {now}\n".encode())


def read_marks(path: Path) -> dict[str, list[int]]:
    """When the handlers of each contact's event started, in ns. Incomplete lines are not read."""
    marks: dict[str, list[int]] = {}
    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        contact_id, started_ns = line.split()
        marks.setdefault(contact_id, []).append(int(started_ns))
    return marks


@cache
def _marks() -> int:
    return os.open(os.environ["MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
