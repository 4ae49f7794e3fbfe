"""Tests of `konvox-hooks audit` on a real store: the equation, what does not fit it, and the exit code."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path

from broker.records import Job
from konvox_hooks.config.settings import SPOOL
from tests.support.console import Console
from tests.support.events import job_of
from tests.support.processes import OurProcess
from tests.support.spooling import closed_spool
from tests.support.store import KEYS
from tests.support.workers import until

MIXED = """
@on("contact.replied")
async def fine(event, ctx):
    pass


@on("contact.lost", attempts=1)
async def broken(event, ctx):
    raise KeyError("crm")
"""


def test_an_empty_ledger_balances(console: Console) -> None:
    """An empty ledger balances."""
    audit = console("audit", "--json")
    assert audit.exit_code == 0
    assert audit.json == {
        "redis": "up",
        "accepted": 0,
        "duplicates": 0,
        "delivered": 0,
        "dead": 0,
        "dropped": 0,
        "pending": 0,
        "dead_letters": 0,
        "spooled": 0,
        "misplaced": [],
        "balanced": True,
        "difference": 0,
        "spool": {"events": 0, "ids": [], "damaged": [], "fault": None},
    }


def test_the_equation_is_readable(console: Console) -> None:
    """Each term of the equation is above its number, and the other counts are explained."""
    console.plug_in(MIXED)
    [record, *_] = console.receive("contact.replied", "contact.replied", "contact.lost")
    console.work()
    console.receive(*(f"contact.number{number}" for number in range(10)))
    console.admit([Job.first(record), Job.replay(record)])
    audit = console("audit")
    assert (audit.exit_code, audit.err) == (0, "")
    lines = audit.out.splitlines()
    assert lines[0] == "accepted = delivered + dead + pending"
    assert lines[1] == "      14 =         2 +    1 +      11"
    assert lines[3].startswith("duplicates 1:")
    assert lines[4].startswith("dead letters 1:")
    assert lines[5].startswith("dropped 0:")
    assert lines[-1] == "Everything that was accepted is accounted for."


def test_a_missing_event_is_found(console: Console) -> None:
    """A job that is deleted behind our back leaves a difference, whose size is named, and exit code 1."""
    [record, _] = console.receive("contact.replied", "enrollment.created")
    console.in_store(lambda server: server.zrem(KEYS.queue, record.id))
    audit = console("audit")
    assert audit.exit_code == 1
    assert audit.out.splitlines()[1] == "       2 ≠         0 +    0 +       1"
    assert "accounted for" not in audit.out
    assert "does not balance: 1 missing" in audit.err
    as_json = console("audit", "--json")
    assert as_json.exit_code == 1
    assert (as_json.json["balanced"], as_json.json["difference"]) == (False, 1)


def test_what_is_misplaced_is_named(console: Console) -> None:
    """A queued job without a body and a letter without an index entry do not change the sum, but are named."""
    console.plug_in(MIXED)
    [dead] = console.receive("contact.lost")
    console.work()
    [queued, *_] = console.receive("contact.replied", *(f"contact.number{number}" for number in range(700)))
    console.in_store(lambda server: server.delete(KEYS.job_key(queued.id)))
    console.in_store(lambda server: server.delete(KEYS.dead_index))
    audit = console("audit", "--json")
    [letter] = [misplaced for misplaced in audit.json["misplaced"] if misplaced.startswith(dead.id)]
    assert audit.exit_code == 1
    assert audit.json["difference"] == 0
    assert sorted(audit.json["misplaced"]) == sorted([queued.id, letter])
    assert f"misplaced {queued.id}\n" in console("audit").out
    assert "2 misplaced" in audit.err


def spooled(tmp_path: Path, *jobs: Job) -> Path:
    """Leave a spool in the console's data folder; returns the spool's folder."""
    return asyncio.run(closed_spool(tmp_path / ".konvox-hooks" / SPOOL, list(jobs)))


def test_what_is_spooled_is_counted_once(console: Console, tmp_path: Path) -> None:
    """A spooled event that Redis has too, because its answer was lost, is counted once."""
    [record] = console.receive("contact.replied")
    spooled(tmp_path, job_of(1), Job.first(record), job_of(2))
    audit = console("audit")
    assert (audit.exit_code, audit.err) == (0, "")
    assert audit.out.splitlines()[1] == "       3 =         0 +    0 +       3"
    assert "\nspooled 2: part of accepted and pending" in audit.out
    assert "\nspooled as well 1:" in audit.out
    as_json = console("audit", "--json").json
    assert (as_json["accepted"], as_json["pending"], as_json["spooled"]) == (3, 3, 2)
    assert as_json["spool"]["ids"] == [job_of(1).delivery, record.id, job_of(2).delivery]


def test_while_redis_is_away_the_spool_is_shown(console: Console, tmp_path: Path) -> None:
    """While Redis is away the audit lists the spooled events, proves nothing, and exits with 1."""
    spooled(tmp_path, job_of(1))
    console.setting("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    audit = console("audit")
    assert audit.exit_code == 1
    assert "Redis is away" in audit.err
    assert f"spooled {job_of(1).delivery}\n" in audit.out
    assert "accounted for" not in audit.out
    as_json = console("audit", "--json")
    assert as_json.exit_code == 1
    assert "Error" in as_json.json["redis"]
    assert as_json.json["spool"]["ids"] == [job_of(1).delivery]


def test_a_damaged_spool_needs_a_person(console: Console, tmp_path: Path) -> None:
    """With a damaged spool all readable events are accounted for, its file is named, and the exit code is 3."""
    folder = spooled(tmp_path, job_of(1))
    (folder / "1-2-3.spool.damaged").write_bytes(b"?")
    audit = console("audit")
    assert audit.exit_code == 3
    assert "1-2-3.spool.damaged" in audit.err


async def _has_looked_twice(watch: OurProcess) -> bool:
    return watch.stdout.count("\n") >= 2


async def test_watch_runs_until_it_is_interrupted(redis_url: str, tmp_path: Path) -> None:
    """`--watch` writes a line for each report without a terminal, and a document with --json, until Ctrl-C."""
    for options, expected in (((), "accepted=0 "), (("--json",), '"accepted":0')):
        env = {"KONVOX_REDIS_URL": redis_url}
        async with await OurProcess.start("audit", "--watch", *options, env=env, cwd=tmp_path) as watch:
            await until(partial(_has_looked_twice, watch))
            watch.process.send_signal(signal.SIGINT)
            assert await watch.ended() == 130
        lines = watch.stdout.splitlines()
        assert len(lines) >= 2
        assert all(expected in line for line in lines)
        assert "\x1b" not in watch.stdout
        assert "Traceback" not in watch.stderr


def test_the_help_has_an_example(console: Console) -> None:
    """The example in the help works as it is."""
    assert "\n    konvox-hooks audit --json" in console("audit", "--help").out
