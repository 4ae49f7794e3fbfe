"""Tests of what commands print: JSON, tables for pipes, tables for terminals."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from konvox_hooks.terminal.output import complain, print_json, print_table, report_shown


class Terminal(io.StringIO):
    """A stdout that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True, unlike the parent class."""
        return True


def test_json_is_one_line_of_utf8(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """JSON output is one document on one line of UTF-8."""
    print_json([{"a": "ü", "n": None}])
    assert capsysbinary.readouterr().out == '[{"a":"ü","n":null}]\n'.encode()


def test_a_piped_table_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    """A piped table has a header and one tab-separated line for each row, and None is empty."""
    print_table(("A", "B"), [(1, None), ("x y", "z")])
    assert capsys.readouterr().out == "A\tB\n1\t\nx y\tz\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cell=st.text())
def test_no_cell_breaks_the_table(capsysbinary: pytest.CaptureFixture[bytes], cell: str) -> None:
    """Line breaks, tabs, escapes and lone surrogates in a cell do not add a line or a column."""
    print_table(("A", "B"), [(cell, "end")])
    lines = capsysbinary.readouterr().out.decode().split("\n")
    assert len(lines) == 3
    assert lines[0] == "A\tB"
    assert lines[1].split("\t")[1:] == ["end"]
    assert lines[1].isprintable() or lines[1].replace("\t", "").isprintable()


def test_a_table_on_a_terminal_is_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, columns are aligned, markup and escapes have no effect, and long ids are folded, not cut."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    print_table(("ID", "NOTE"), [("evt_1", "[red]x[/red]\x1b[2J"), ("e" * 50, "y")])
    shown = terminal.getvalue()
    assert "[red]x[/red] [2J" in shown
    assert "\x1b[2J" not in shown
    assert shown.count("e") >= 51
    assert "…" not in shown
    assert shown.index("NOTE") == shown.splitlines()[0].index("NOTE")


def test_colors_are_off_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR removes the colors of a table."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("ID",), [("evt_1",)])
    assert not any(code in terminal.getvalue() for code in ("\x1b[3", "\x1b[4", "\x1b[9"))


def test_complaints_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """A message's first line follows the program's name, and the other lines can be pasted."""
    complain("no handler:\n\ncode")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "konvox-hooks: no handler:\n\ncode\n"


def test_how_many_there_are_is_said_only_if_some_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Stderr says how many there are in all and how to see them, but only if the listing does not have all."""
    report_shown(50, 3000, "events", more="--limit 3000 shows all")
    assert capsys.readouterr().err == "konvox-hooks: 50 of 3,000 events; --limit 3000 shows all\n"
    report_shown(50, 3000, "events", more="more", all_seen=False)
    assert "50 of more than 3,000 events" in capsys.readouterr().err
    report_shown(3, 3, "events", more="more")
    report_shown(3, None, "events", more="more")
    assert capsys.readouterr().err == ""
