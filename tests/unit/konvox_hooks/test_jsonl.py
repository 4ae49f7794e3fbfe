"""Tests of captured events in files: what is read, what is skipped, and that files appear whole or not at all."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.records import Job, Record
from konvox.samples import sample_body
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.history import jsonl
from konvox_hooks.history.jsonl import CapturedEvents, atomic_file, captured_events

BODY = sample_body("contact.replied", timestamp="t")
SHARED_CAPSYS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

records = st.builds(
    lambda data, received_at_ms, headers: Record.capture(
        sample_body("odd.event", data=data, timestamp="t"), received_at_ms=received_at_ms, headers=headers
    ),
    data=st.dictionaries(st.text(), st.text() | st.integers(-(2**60), 2**60) | st.none()),
    received_at_ms=st.integers(0, 4_000_000_000_000),
    headers=st.dictionaries(st.text(), st.text()),
)


@given(st.lists(records))
def test_what_is_written_is_read_again(originals: list[Record]) -> None:
    """Every record that is written to a file is read back unchanged."""
    lines = b"".join(record.to_line() + b"\n" for record in originals)
    assert list(CapturedEvents(io.BytesIO(lines), "events.jsonl")) == originals


def test_a_line_may_be_just_a_body() -> None:
    """A line with only a Konvox body is an event received now; blank lines and a byte order mark are ignored."""
    [first, second] = CapturedEvents(io.BytesIO(b"\xef\xbb\xbf" + BODY + b"\r\n\n  \n" + BODY), "x")
    assert first.raw == second.raw == BODY
    assert first.received_at_ms > 1_700_000_000_000


def test_faulty_lines_are_reported_counted_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A faulty line is skipped and reported with its file, number and fault, but without its content."""
    lines = [b"[private]", BODY, b"private", b'{"body": "private"}', b'{"body_base64": "private!"}', b"\xff"]
    file = CapturedEvents(io.BytesIO(b"\n".join(lines)), "x\x1b[2J")
    assert file.fault == ""
    assert [record.raw for record in file] == [BODY]
    stderr = capsys.readouterr().err
    assert [line.split(": ")[1] for line in stderr.splitlines()] == [f"x [2J:{number}" for number in (1, 3, 4, 5, 6)]
    assert "private" not in stderr
    assert file.faulty == 5
    assert file.fault.startswith("5 lines of x [2J were skipped")


@SHARED_CAPSYS
@given(st.lists(st.binary() | st.sampled_from([BODY, b'{"body": 1}', b"{" * 3000, b'{"event": "x", "n": NaN}'])))
def test_no_line_stops_the_reading(capsys: pytest.CaptureFixture[str], lines: list[bytes]) -> None:
    """Every event of every file is read, and every fault is reported; a value over several lines is one fault."""
    content = b"\n".join(lines)
    file = CapturedEvents(io.BytesIO(content), "x")
    read = len(list(file))
    blank = sum(
        not (line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).strip()
        for number, line in enumerate(content.split(b"\n"))
    )
    assert read == content.split(b"\n").count(BODY)
    assert read + file.faulty + blank <= content.count(b"\n") + 1
    assert capsys.readouterr().err.count("\n") == file.faulty


def test_a_file_is_opened_or_refused(tmp_path: Path) -> None:
    """A file that does not exist, or is no file, is a usage error."""
    (tmp_path / "x").write_bytes(BODY)
    with captured_events(str(tmp_path / "x")) as file:
        assert [record.raw for record in file] == [BODY]
    for missing in (tmp_path / "y", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"), captured_events(str(missing)):
            pass


def test_a_file_appears_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    """A file replaces the old one only when it is complete; only its owner can read it, and a link stays a link."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("before")
    link.symlink_to(real)
    with atomic_file(link) as stream:
        stream.write(b"after")
        stream.flush()
        assert real.read_text() == "before"
    assert real.read_text() == "after"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, real]


@pytest.mark.parametrize(
    ("fault", "expected"), [(OSError(28, "No space left on device"), Failed), (KeyError, KeyError)]
)
def test_a_file_that_is_not_finished_does_not_appear(
    tmp_path: Path, fault: BaseException, expected: type[BaseException]
) -> None:
    """If writing fails, the old file stays unchanged, and no partial file remains."""
    path = tmp_path / "x"
    path.write_text("before")

    def fail_halfway() -> None:
        """Write something, and raise."""
        with atomic_file(path) as stream:
            stream.write(b"half")
            raise fault

    with pytest.raises(expected):
        fail_halfway()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", [Path("/dev/null"), Path(), Path("no-such-folder/x")])
def test_what_cannot_be_such_a_file_is_refused(path: Path) -> None:
    """A device is not replaced by a file, a folder is refused, and no folder is made."""
    with pytest.raises(UsageError), atomic_file(path):
        pass


@given(st.lists(st.integers(0, 40), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_batches_are_bounded_and_lose_nothing(sizes: list[int], most_events: int, most_bytes: int) -> None:
    """Batches keep the order, and stay within the limits on events and text."""
    jobs = [Job.first(Record(f"evt_{number}", "x", 0, "x" * size)) for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "BATCH_EVENTS", most_events)
        patch.setattr(jsonl, "BATCH_BYTES", most_bytes)
        batches = list(jsonl._batches(jobs))
    assert [job for batch in batches for job in batch] == jobs
    assert all(0 < len(batch) <= most_events for batch in batches)
    assert all(sum(len(job.record.body) for job in batch[:-1]) < most_bytes for batch in batches)
