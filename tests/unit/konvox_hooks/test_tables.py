"""Tests of tables on a terminal: what somebody will copy is on one line, however narrow the terminal is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox_hooks.terminal.tables import cells_wide, terminal_lines, wrapped

EVENT = "evt_" + "a" * 26
REPLAY = f"{EVENT}~0123456789ab"
LETTER = f"{EVENT}/my_company.webhooks.handlers.opt_out_in_crm"
COMMAND = f"`konvox-hooks dead retry {EVENT}`"

EVENTS = (
    ("ID", "TYPE", "RECEIVED", "STATE", "REPLAYED", "HANDLERS"),
    [
        (REPLAY, "enrollment.unsubscribed", "2026-05-20T14:32:00.000Z", "delivered", "yes", "mine.tell done, a.b dead"),
        (EVENT, "contact.replied", "2026-05-20T14:32:00.000Z", "pending", "", ""),
    ],
)
LETTERS = (
    ("ID", "TYPE", "HANDLER", "REASON", "ATTEMPTS", "DIED", "ERROR"),
    [
        (
            LETTER,
            "enrollment.unsubscribed",
            "my_company.webhooks.handlers.opt_out_in_crm",
            "attempts",
            "8",
            "2026-05-20T14:32:00.000Z",
            f"my_company.errors.CrmDownError: the CRM is down, run {COMMAND} later",
        ),
    ],
)


def copied(rows: list[tuple[str, ...]]) -> set[str]:
    """What somebody may copy from these rows: every word, and commands as a whole."""
    return {word for row in rows for cell in row for word in re.findall(r"(?:`[^`]*`|\S)+", cell)}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 132, 200, 400])
@pytest.mark.parametrize(("columns", "rows"), [EVENTS, LETTERS])
def test_what_is_copied_is_never_broken(columns: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> None:
    """Each id, type, time and command is whole on one line, and a line is too long only for a single word."""
    lines = terminal_lines(columns, rows, width=width)
    for word in copied(rows):
        assert any(word in line for line in lines), word
    assert all(name in lines[0] for name in columns)
    for line in lines[1:]:
        assert cells_wide(line) <= width or len(copied([(line.strip(),)])) <= 2


def test_columns_that_fit_are_aligned() -> None:
    """On a wide terminal, each cell begins below its column's name."""
    columns, rows = EVENTS
    header, first, second = terminal_lines(columns, rows, width=200)
    assert first.index("delivered") == second.index("pending") == header.index("STATE")
    assert first.index("mine.tell") == header.index("HANDLERS")


def test_a_long_text_goes_over_several_lines_beside_the_others() -> None:
    """A long text is wrapped between words within its column, before the table becomes paragraphs."""
    header, *lines = terminal_lines(("ID", "ERROR"), [(EVENT, "the CRM is down and nobody knows why")], width=50)
    assert lines == [f"{EVENT}  the CRM is down", " " * 32 + "and nobody knows", " " * 32 + "why"]
    assert header.split() == ["ID", "ERROR"]


def test_a_row_that_does_not_fit_is_a_paragraph() -> None:
    """A row that is too wide begins with its first cell; the others follow with their names, and empty ones do not."""
    lines = terminal_lines(*EVENTS, width=80)
    assert lines[1] == REPLAY
    assert "  type: enrollment.unsubscribed  received: 2026-05-20T14:32:00.000Z" in lines
    assert lines[-2] == EVENT
    assert "replayed" not in lines[-1]


def test_wide_letters_take_two_columns() -> None:
    """Letters of East Asia take two columns, and combining marks none, so the next column stays aligned."""
    _, first, second = terminal_lines(("NAME", "ID"), [("山田", "x"), ("e\u0301", "x")], width=40)
    assert cells_wide(first[: first.index("x")]) == cells_wide(second[: second.index("x")]) == 6


@given(st.text("ab ` \u5c71", max_size=60), st.integers(1, 30))
def test_wrapping_loses_no_word(text: str, width: int) -> None:
    """Wrapping keeps all words in order, whatever the text and the width are."""
    assert " ".join(wrapped(text, width)).split() == text.split()
