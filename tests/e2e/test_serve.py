"""Tests of `serve` with real processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from konvox.samples import sample_body
from tests.support.processes import OurProcess
from tests.support.workers import until

TOKEN = "a-token-for-the-tests-of-serve-123"


async def test_an_event_goes_from_a_request_to_a_handler(tmp_path: Path) -> None:
    """`serve` answers 200 with the event's id, runs the handler, and stops cleanly on SIGTERM."""
    (tmp_path / "mine.py").write_text(
        "from handlers import on\n\n\n@on('*')\nasync def tell(event, ctx):\n    ctx.log.info('seen', id=event.id)\n"
    )
    env = {
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
    }
    async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
        url = await serve.listening("receiver")
        async with aiohttp.ClientSession() as session:
            headers = {"Content-Type": "application/json"}
            body = sample_body("contact.replied")
            async with session.post(f"{url}/hooks/konvox/{TOKEN}", data=body, headers=headers) as answer:
                assert answer.status == 200
                event_id = (await answer.json())["id"]
        await serve.logged("seen", id=event_id)
        assert await serve.terminate() == 0
    assert TOKEN not in serve.stderr


async def test_copies_run_once_and_the_order_is_of_no_concern(tmp_path: Path) -> None:
    """Four concurrent copies of a body run once, and events with descending times all run."""
    (tmp_path / "mine.py").write_text(
        "from handlers import on\n\n\n@on('*')\nasync def tell(event, ctx):\n"
        "    with open('effects', 'a') as effects:\n        effects.write(event.id + '\\n')\n"
    )
    env = {
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
    }
    bodies = [sample_body("contact.replied", timestamp=f"2026-05-{day:02}T14:32:00.000Z") for day in range(28, 8, -1)]
    headers = {"Content-Type": "application/json"}
    async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve, aiohttp.ClientSession() as session:
        url = f"{await serve.listening('receiver')}/hooks/konvox/{TOKEN}"

        async def send(body: bytes) -> tuple[str, str]:
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 200
                content = await answer.json()
                return content["id"], content["status"]

        answers = await asyncio.gather(*(send(body) for body in bodies for _ in range(4)))
        await serve.logged("worker.started")
        await until(lambda: _has_lines(tmp_path / "effects", len(bodies)))
        assert await serve.terminate() == 0  # any other queued job has run by then
    accepted = [event_id for event_id, status in answers if status == "accepted"]
    assert len(accepted) == len(bodies)
    assert sorted((tmp_path / "effects").read_text().split()) == sorted(accepted)


async def _has_lines(path: Path, count: int) -> bool:
    return path.exists() and len(path.read_text().split()) >= count
