"""The frames in which events are spooled: what is intact is found and believed, what is not is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.spool.frames import (
    DATA_BYTES,
    FRAME_BYTES,
    PAGE_BYTES,
    Frame,
    find_frames,
    frames_of,
    mark_of,
    read_frame,
    whole_events,
)
from tests.support.events import job_of

LARGE = "x" * (2 * DATA_BYTES + 100)


@pytest.mark.parametrize("subject", ["hello", "naïve ☃", LARGE])
def test_an_event_comes_back_as_it_was(subject: str) -> None:
    """In one frame or in several."""
    job = job_of(1, subject=subject)
    frames = [read_frame(image) for image in frames_of(job, first_number=5)]
    assert [frame.number for frame in frames if frame] == list(range(5, 5 + len(frames)))
    assert list(whole_events(frame for frame in frames if frame)) == [(4 + len(frames), job.to_bytes())]


def test_a_frame_fits_into_a_page() -> None:
    """With what SQLite puts beside it, it must lie in one piece: 35 bytes of the page, and 8 for the row."""
    assert max(map(len, frames_of(job_of(1, subject=LARGE), first_number=1))) == FRAME_BYTES
    assert FRAME_BYTES + 35 + 8 < PAGE_BYTES


def test_a_mark_is_no_event() -> None:
    """It says how far a spool is drained, and carries nothing."""
    mark = read_frame(mark_of(7))
    assert mark is not None
    assert (mark.is_mark, mark.number, mark.intact) == (True, 7, True)
    assert list(whole_events([mark])) == []


@given(position=st.integers(min_value=0), change=st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(position: int, change: int) -> None:
    """Wherever in the frame it is."""
    image = bytearray(frames_of(job_of(1), first_number=1)[0])
    image[position % len(image)] ^= change
    frame = read_frame(bytes(image))
    assert frame is None or not frame.intact


@given(before=st.binary(max_size=300), between=st.binary(max_size=300), length=st.integers(min_value=0))
def test_frames_are_found_among_anything(before: bytes, between: bytes, length: int) -> None:
    """Whole ones between garbage; one that is cut off is not believed."""
    first, second, third = (frames_of(job_of(number), first_number=number)[0] for number in (1, 2, 3))
    image = before + first + between + second + third[: length % len(third)]
    assert [frame.number for _, frame in find_frames(image, before=len(image)) if frame.intact] == [1, 2]
    found = dict(find_frames(image, before=len(image)))
    assert found[len(before)] == read_frame(first)


def test_an_offset_belongs_to_one_window() -> None:
    """A frame that begins at the end of a window is found there and not in the next one too."""
    image = bytes(100) + frames_of(job_of(1), first_number=1)[0]
    assert [offset for offset, _ in find_frames(image, before=101)] == [100]
    assert list(find_frames(image, before=100)) == []


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_event_that_lacks_a_part_is_left_out(missing: int) -> None:
    """The events around it are not."""
    around = [[Frame(1, 0, 1, b"a")], [Frame(5, 0, 1, b"e")]]
    broken = [Frame(2 + part, part, 3, b"b") for part in range(3) if part != missing]
    assert list(whole_events([*around[0], *broken, *around[1]])) == [(1, b"a"), (5, b"e")]
