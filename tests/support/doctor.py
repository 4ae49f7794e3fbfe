"""`konvox-hooks doctor` in this process, and what it found."""

from __future__ import annotations

from tests.support.registration import Outcome, Shell

Line = dict[str, str]


async def examined(shell: Shell) -> tuple[Outcome, dict[str, list[Line]]]:
    """Run the doctor; what it finds by check. Each line that is not ok has its hint."""
    outcome = await shell.run("doctor", "--json")
    lines: dict[str, list[Line]] = {}
    for line in outcome.json:
        assert set(line) == {"check", "state", "message", "hint"}
        assert bool(line["hint"]) == (line["state"] != "ok"), line
        lines.setdefault(line["check"], []).append(line)
    states = {line["state"] for line in outcome.json}
    assert outcome.exit_code == (1 if "fault" in states else 3 if "warning" in states else 0)
    return outcome, lines


async def one(shell: Shell, check: str) -> Line:
    """The one line of a check."""
    [line] = (await examined(shell))[1][check]
    return line
