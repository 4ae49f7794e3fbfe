"""`konvox-hooks doctor` in this process: its findings, and a set-up in which everything is well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.registration import TOKEN, Outcome, Shell

Line = dict[str, str]


async def examined(shell: Shell) -> tuple[Outcome, dict[str, list[Line]]]:
    """Run the doctor; returns its findings by check. Each line that is not ok must have a hint."""
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
    """The only finding of a check."""
    [line] = (await examined(shell))[1][check]
    return line


@asynccontextmanager
async def healthy(shell: Shell, redis_url: str) -> AsyncIterator[str]:
    """A set-up in which everything is well; yields the receiver's origin."""
    shell.configure(REDIS_URL=redis_url, HOOK_TOKENS=TOKEN)
    shell.handle("contact.replied", "enrollment.created")
    async with shell.receiver(redis_url, tokens=(TOKEN,)) as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        await shell.add("contact.replied", "enrollment.created", url=f"{origin}/hooks/konvox/{TOKEN}")
        yield origin
