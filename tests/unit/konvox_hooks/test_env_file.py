"""Tests of setting variables in `.env`: nothing else changes, and the file is never half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from konvox_hooks.config.env_file import EnvFileError, with_variables, write_variables
from konvox_hooks.config.env_syntax import read_variables
from konvox_hooks.config.settings import SECRET_VARIABLES

SECRET = "s3cret-of-the-tests"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "A=new\n"),
        ("B=1", "B=1\nA=new\n"),
        ("B=1\n", "B=1\nA=new\n"),
        ("B=1\r\n", "B=1\r\nA=new\r\n"),
        ("# a comment\n\nA=old\nB=1\n", "# a comment\n\nA=new\nB=1\n"),
        ("A=old\r\nB=1\r\n", "A=new\r\nB=1\r\n"),
        ("A=old", "A=new"),
        ("B=1\n\n\nexport A='old' # why\nC=2\n", "B=1\n\n\nexport A=new\nC=2\n"),
        ('A="two\nlines"\nB=1\n', "A=new\nB=1\n"),
        ("#A=commented\nB='#'\n", "#A=commented\nB='#'\nA=new\n"),
        ("A=first\nB=1\nA=second\n", "A=new\nB=1\n"),
        ("A\nB=1\n", "A=new\nB=1\n"),
        ("AA=1\nB_A=2\n", "AA=1\nB_A=2\nA=new\n"),
    ],
)
def test_only_the_variable_changes(before: str, after: str) -> None:
    """Only the variable changes, in its place; comments, blank lines and line ends stay."""
    assert with_variables(before, {"A": "new"}) == after


def test_several_variables_are_set_at_once() -> None:
    """Several variables are set at once: existing ones in their places, new ones at the end."""
    assert with_variables("B=1\nC=2\n", {"A": "x", "B": "y"}) == "B=y\nC=2\nA=x\n"


def test_what_was_set_is_not_set_twice() -> None:
    """Setting the same value again changes nothing."""
    once = with_variables("B=1\n", {"A": "x"})
    assert with_variables(once, {"A": "x"}) == once


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\r\x00")))
@example("${HOME}")
@example('it\'s ${A:-b} \\ "x" # no comment')
@pytest.mark.parametrize("name", ["A", "KONVOX_SIGNING_SECRETS"])
def test_whatever_is_written_is_read_back(name: str, value: str) -> None:
    """Any value is read back unchanged, with quotes, backslashes, hashes, blanks and references to variables."""
    text = with_variables("B=${HOME} # note\n", {name: value})
    assert read_variables(text, SECRET_VARIABLES) == {"B": "${HOME}", name: value}


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """Only the owner can read a new file, under any umask."""
    before = os.umask(0)
    try:
        write_variables(tmp_path / ".env", {"A": SECRET})
    finally:
        os.umask(before)
    assert (tmp_path / ".env").read_text() == f"A={SECRET}\n"
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


def test_a_file_that_others_could_read_is_closed_and_reported(tmp_path: Path) -> None:
    """An existing file that others can read is closed to them, and the caller learns its old mode."""
    path = tmp_path / ".env"
    path.write_text("B=1\n")
    path.chmod(0o640)
    assert write_variables(path, {"A": "x"}) == 0o640
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert write_variables(path, {"A": "y"}) is None


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    """A symbolic link stays a link, and the file that it leads to is written."""
    (tmp_path / "real").write_text("B=1\n")
    (tmp_path / ".env").symlink_to("real")
    write_variables(tmp_path / ".env", {"A": "x"})
    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "real").read_text() == "B=1\nA=x\n"


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the old file is unchanged, and no other file remains."""
    path = tmp_path / ".env"
    path.write_text("B=1\n")

    def full(_: int) -> None:
        """Fails like a full disk."""
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvFileError, match="No space left") as failed:
        write_variables(path, {"A": SECRET})
    assert SECRET not in str(failed.value)
    assert path.read_text() == "B=1\n"
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("content", [b"B=\xff\n", None])
def test_what_is_no_env_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not UTF-8, and a folder, are refused."""
    path = tmp_path / ".env"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(EnvFileError, match=r"\.env cannot be written"):
        write_variables(path, {"A": SECRET})
    assert [file.name for file in tmp_path.iterdir()] == [".env"]
