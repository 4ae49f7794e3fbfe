"""kill -9 of real processes: what was in flight runs again elsewhere, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from broker.admission import AdmissionPolicy, admit
from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.records import Job, Record
from konvox.samples import sample_body
from tests.support.processes import OurProcess, worker_environment
from tests.support.store import RedisClient

_HANDLER = """
import asyncio, os

from handlers import on


@on("contact.replied")
async def handle(event, ctx):
    with open("effects", "a") as effects:
        effects.write(f"{event.id} {ctx.attempt}\\n")
        effects.flush()
        os.fsync(effects.fileno())
    ctx.log.info("ran", attempt=ctx.attempt, contact=event.data.contact_id)
    if event.data.contact_id == "poison":
        os._exit(13)
    if os.environ.get("HANG"):
        await asyncio.Event().wait()
"""


def record_of(contact: str) -> Record:
    """An event about a contact."""
    data = {"contactId": contact, "channel": "email", "campaignId": None, "enrollmentId": None}
    return Record.capture(sample_body("contact.replied", data=data), received_at_ms=1)


async def test_a_killed_workers_event_runs_elsewhere(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """A killed worker's event runs elsewhere at the same attempt, because a crash is not the handler's fault."""
    (tmp_path / "mine.py").write_text(_HANDLER)
    record = record_of("c1")
    await admit(server, [Job.first(record)], AdmissionPolicy())
    async with await OurProcess.start("worker", env=worker_environment(redis_url, HANG="1"), cwd=tmp_path) as killed:
        await killed.logged("ran", contact="c1")
        await killed.kill()
    async with await OurProcess.start("worker", "--burst", env=worker_environment(redis_url), cwd=tmp_path) as other:
        assert await other.ended() == 0, other.stderr
    assert (tmp_path / "effects").read_text().splitlines() == [f"{record.id} 1"] * 2
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered, ledger.balanced) == (1, 1, True)


async def test_sigterm_releases_the_event_with_its_attempt(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """A deploy in the middle of a handler that does not finish costs neither the event nor an attempt."""
    (tmp_path / "mine.py").write_text(_HANDLER)
    await admit(server, [Job.first(record_of("c1"))], AdmissionPolicy())
    env = worker_environment(redis_url, HANG="1", KONVOX_STOP_SECONDS="0.1", KONVOX_LEASE_SECONDS="60")
    for _ in range(3):
        async with await OurProcess.start("worker", env=env, cwd=tmp_path) as worker:
            await worker.logged("ran", attempt=1)
            assert await worker.terminate() == 0, worker.stderr
    async with await OurProcess.start("worker", "--burst", env=worker_environment(redis_url), cwd=tmp_path) as last:
        assert await last.ended() == 0, last.stderr
        await last.logged("ran", attempt=1)
    assert (await audit(server)).delivered == 1


async def test_an_event_that_kills_its_worker_is_buried_alone(
    server: RedisClient, redis_url: str, tmp_path: Path
) -> None:
    """An event that kills its worker is a dead letter after three crashes, and what ran beside it is delivered."""
    (tmp_path / "mine.py").write_text(_HANDLER)
    contacts = ["c1", "poison", "c2", "c3"]
    jobs = [Job.first(record_of(contact)) for contact in contacts]
    await admit(server, jobs, AdmissionPolicy())
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        async with await OurProcess.start(
            "worker", "--burst", env=worker_environment(redis_url), cwd=tmp_path
        ) as worker:
            codes.append(await worker.ended())
        assert len(codes) <= 4, worker.stderr
    assert codes == [13, 13, 13, 0]
    [letter] = [letter async for letter in list_dead_letters(server)]
    assert (letter.reason, letter.event_id) == ("poison", jobs[1].record.id)
    ledger = await audit(server)
    assert (ledger.accepted, ledger.delivered, ledger.dead, ledger.balanced) == (4, 3, 1, True)
