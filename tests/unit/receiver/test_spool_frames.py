"""The frames of a segment: damage costs what it touches, and nothing that a sender writes is taken for a frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receiver.spool.frames import HEAD_BYTES, Scan, frame, scan
from tests.support.events import job_of

FIRST = 5
PAYLOADS = st.lists(st.text(max_size=80).map(str.encode), min_size=1, max_size=8)


def segment_of(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    """A segment with these payloads, and where each frame begins, and the last one ends."""
    frames = [frame(number, payload) for number, payload in enumerate(payloads, FIRST)]
    return b"".join(frames), [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]


def untouched(payloads: list[bytes], places: list[int], begin: int, end: int) -> list[tuple[int, bytes]]:
    """The events whose frames lie wholly outside a stretch of the file."""
    return [
        (number, payload)
        for number, payload, start, stop in zip(
            range(FIRST, FIRST + len(payloads)), payloads, places, places[1:], strict=False
        )
        if stop <= begin or start >= end
    ]


def scan_whole(image: bytes, payloads: list[bytes]) -> Scan:
    """Read a segment of which it is known where the next one begins."""
    return scan(image, first=FIRST, before=FIRST + len(payloads))


@given(payloads=PAYLOADS)
def test_events_come_back_as_they_were(payloads: list[bytes]) -> None:
    """Numbers, order and every byte of the events are kept, and nothing is called damaged."""
    image, _ = segment_of(payloads)
    expected = Scan(list(enumerate(payloads, FIRST)), 0, is_damaged=False)
    assert scan_whole(image, payloads) == scan(image, first=FIRST, before=None) == expected


@given(payloads=PAYLOADS, data=st.data())
def test_a_changed_byte_costs_the_frame_that_it_is_in(payloads: list[bytes], data: st.DataObject) -> None:
    """A changed byte is noticed wherever it is, and costs only the frame that it is in."""
    image, places = segment_of(payloads)
    place = data.draw(st.integers(0, len(image) - 1))
    changed = bytearray(image)
    changed[place] ^= data.draw(st.integers(1, 255))
    for found in (scan_whole(bytes(changed), payloads), scan(bytes(changed), first=FIRST, before=None)):
        assert found.waiting == untouched(payloads, places, place, place + 1)
        assert found.is_damaged
    assert scan_whole(bytes(changed), payloads).lost == 1


@given(payloads=PAYLOADS, data=st.data())
def test_a_zeroed_piece_costs_the_frames_that_it_touches(payloads: list[bytes], data: st.DataObject) -> None:
    """A piece of zeros, or of anything else, costs the frames that it touches, and how many are lost is known."""
    image, places = segment_of(payloads)
    begin = data.draw(st.integers(0, len(image) - 1))
    end = data.draw(st.integers(begin + 1, len(image)))
    filling = data.draw(st.one_of(st.just(bytes(end - begin)), st.binary(min_size=end - begin, max_size=end - begin)))
    changed = image[:begin] + filling + image[end:]
    found = scan_whole(changed, payloads)
    if changed == image:
        return
    # A byte that is written over with the same value is not damage.
    first_change = next(place for place, byte in enumerate(changed) if byte != image[place])
    last_change = max(place for place, byte in enumerate(changed) if byte != image[place])
    assert set(found.waiting) >= set(untouched(payloads, places, first_change, last_change + 1))
    assert set(found.waiting) <= set(enumerate(payloads, FIRST))
    assert found.is_damaged
    assert found.lost == len(payloads) - len(found.waiting) > 0


@given(payloads=PAYLOADS, data=st.data())
def test_a_segment_that_is_cut_off_costs_the_frames_behind_the_cut(payloads: list[bytes], data: st.DataObject) -> None:
    """A cut costs the frames behind it: it is a crash in the last segment, and damage where others follow."""
    image, places = segment_of(payloads)
    length = data.draw(st.integers(0, len(image) - 1))
    kept = untouched(payloads, places, length, len(image))
    found = scan_whole(image[:length], payloads)
    assert (found.waiting, found.lost, found.is_damaged) == (kept, len(payloads) - len(kept), True)
    after_crash = scan(image[:length], first=FIRST, before=None)
    assert (after_crash.waiting, after_crash.lost, after_crash.is_damaged) == (kept, 0, False)


@given(payloads=PAYLOADS, between=st.binary(min_size=1, max_size=200), data=st.data())
def test_frames_are_found_behind_anything(payloads: list[bytes], between: bytes, data: st.DataObject) -> None:
    """What stands between two frames costs neither, even if bytes are there that should not be."""
    image, places = segment_of(payloads)
    place = data.draw(st.sampled_from(places[:-1]))
    found = scan_whole(image[:place] + between + image[place:], payloads)
    assert found.waiting == list(enumerate(payloads, FIRST))
    assert (found.lost, found.is_damaged) == (0, True)


@given(inner=PAYLOADS, flipped=st.booleans(), data=st.data())
def test_a_payload_that_looks_like_frames_does_not_confuse_the_reader(
    inner: list[bytes], flipped: bool, data: st.DataObject
) -> None:
    """A payload that looks like frames is read as it is, because an intact frame is not searched for others."""
    lookalike = segment_of(inner)[0].decode("latin-1").encode()
    payloads = [b"before", lookalike, b"after"]
    image = bytearray(segment_of(payloads)[0])
    if flipped:
        begin = segment_of(payloads)[1][1]
        image[data.draw(st.integers(begin, begin + HEAD_BYTES + len(lookalike) - 1))] ^= 1
    expected = [(FIRST, b"before"), *([] if flipped else [(FIRST + 1, lookalike)]), (FIRST + 2, b"after")]
    assert scan_whole(bytes(image), payloads).waiting == expected
    raw = [b"before", segment_of(inner)[0], b"after"]
    assert scan_whole(segment_of(raw)[0], raw).waiting == list(enumerate(raw, FIRST))


def test_no_event_can_hold_the_first_byte_of_a_frame() -> None:
    """No event can hold the first byte of a frame, because every text of it is kept as UTF-8."""
    assert b"\xff" not in job_of(1, subject="".join(map(chr, range(1, 0x500)))).to_bytes()
    assert frame(1, b"")[:1] == b"\xff"


def test_what_is_drained_does_not_come_again() -> None:
    """The segment's name holds the first number that waits, and damage before that costs nothing."""
    payloads = [b"a", b"b", b"c", b"d"]
    image, places = segment_of(payloads)
    whole = scan(image, first=FIRST + 2, before=FIRST + 4)
    assert whole == Scan([(FIRST + 2, b"c"), (FIRST + 3, b"d")], 0, is_damaged=False)
    damaged = scan(bytes(places[1]) + image[places[1] :], first=FIRST + 2, before=FIRST + 4)
    assert damaged == whole._replace(is_damaged=True)


def test_what_was_refused_does_not_count() -> None:
    """Frames of a failed write do not count, because the next segment begins with the same number."""
    image, places = segment_of([b"a", b"b", b"refused", b"refused too"])
    for length in range(places[2], len(image) + 1):
        found = scan(image[:length], first=FIRST, before=FIRST + 2)
        assert found == Scan([(FIRST, b"a"), (FIRST + 1, b"b")], 0, is_damaged=False)


def test_an_older_frame_that_shows_up_again_does_not_count() -> None:
    """A frame whose number is not later than the one before does not count."""
    again = frame(FIRST, b"stale")
    found = scan(segment_of([b"a", b"b"])[0] + again + frame(FIRST + 2, b"c"), first=FIRST, before=None)
    assert found.waiting == [(FIRST, b"a"), (FIRST + 1, b"b"), (FIRST + 2, b"c")]
