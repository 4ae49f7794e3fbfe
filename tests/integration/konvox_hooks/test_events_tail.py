"""Tests of `konvox-hooks events tail` as a process: what it shows, when, and what it survives."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.admission import AdmissionPolicy, admit
from broker.redis.client import close
from tests.support.events import job_of
from tests.support.processes import OurProcess
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer

TOKEN = "a-token-for-the-tests-of-the-tail"


@asynccontextmanager
async def tailing(redis_url: str, cwd: Path, *arguments: str) -> AsyncIterator[OurProcess]:
    """The command, with JSON on both streams by default."""
    env = {"KONVOX_REDIS_URL": redis_url, "KONVOX_LOG_FORMAT": "json"}
    async with await OurProcess.start("events", "tail", *arguments, env=env, cwd=cwd) as process:
        yield process


async def shown(process: OurProcess, event_id: str) -> dict[str, object]:
    """Wait until an event is shown as JSON."""
    return await process.said(lambda line: line.get("event_id") == event_id, f"event {event_id}")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_the_last_few_come_first_and_then_what_happens(
    server: RedisClient, redis_url: str, tmp_path: Path, stop: signal.Signals
) -> None:
    """The last few events come first, oldest first, then each new one once; Ctrl-C ends it with exit code 0."""
    jobs = [job_of(number) for number in range(5)]
    await admit(server, jobs[:3], AdmissionPolicy())
    async with tailing(redis_url, tmp_path, "--last", "2", "--json") as process:
        await shown(process, jobs[2].record.id)
        for job in jobs[3:]:
            await admit(server, [job], AdmissionPolicy())
            assert (await shown(process, job.record.id))["state"] == "pending"
        process.process.send_signal(stop)
        assert await process.ended() == 0
    assert [line["event_id"] for line in process.lines] == [job.record.id for job in jobs[1:]]
    assert process.stderr == ""


async def test_one_type_in_lines_of_text(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """With `--type`, past and new events of that type are lines of time, id, state and type, separated by tabs."""
    kinds = ["contact.replied", "enrollment.created"] * 2
    jobs = [job_of(number, kind) for number, kind in enumerate(kinds)]
    await admit(server, jobs[:2], AdmissionPolicy())
    async with tailing(redis_url, tmp_path, "--type", "enrollment.*") as process:
        await process.wrote_lines(1)
        await admit(server, jobs[2:], AdmissionPolicy())
        await process.wrote_lines(2)
        assert await process.terminate() == 0
    rows = [line.split("\t") for line in process.stdout.splitlines()]
    assert [row[1:] for row in rows] == [[job.delivery, "pending", job.record.type] for job in (jobs[1], jobs[3])]
    assert rows[0][0] == "2026-05-20T14:32:00.000Z"


async def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    """During an outage of the store no event is skipped or shown twice, and stderr reports the outage."""
    (tmp_path / "redis").mkdir()
    with ValkeyServer(tmp_path / "redis") as valkey:
        jobs = [job_of(number) for number in range(3)]

        async def admit_one(number: int) -> None:
            """Admit one event."""
            connection = connect(valkey.url())
            await admit(connection, [jobs[number]], AdmissionPolicy())
            await close(connection)

        async with tailing(valkey.url(), tmp_path, "--json") as process:
            await admit_one(0)
            await shown(process, jobs[0].record.id)
            valkey.kill()
            await process.logged("redis.lost")
            valkey.start()
            await admit_one(1)
            await shown(process, jobs[1].record.id)
            await process.logged("redis.restored")
            await admit_one(2)
            await shown(process, jobs[2].record.id)
            assert await process.terminate() == 0
    ids = [line["event_id"] for line in process.lines if "event_id" in line]
    assert ids == [job.record.id for job in jobs]


async def test_it_waits_for_a_service_that_is_not_running(tmp_path: Path) -> None:
    """Started before `serve` with its own store, the command waits for it, and does not keep it from starting."""
    env = {"KONVOX_HOOK_TOKENS": TOKEN, "KONVOX_PORT": "0", "KONVOX_ADMIN_PORT": "0", "KONVOX_LOG_FORMAT": "json"}
    async with await OurProcess.start("events", "tail", "--json", env=env, cwd=tmp_path) as process:
        await process.logged("redis.lost")
        async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
            trigger = ("trigger", "contact.replied", "--url")
            url = f"{await serve.listening('receiver')}/hooks/konvox/{TOKEN}"
            async with await OurProcess.start(*trigger, url, env=env, cwd=tmp_path) as triggered:
                assert await triggered.ended() == 0
            await process.said(lambda line: line.get("type") == "contact.replied", "the event")
            assert await serve.terminate() == 0
        assert await process.terminate() == 0
