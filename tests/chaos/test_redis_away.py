"""Redis away, as real processes: every event is answered with 200, and handled once Redis is back."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from konvox.samples import sample_body
from tests.support.processes import OurProcess
from tests.support.valkey import ValkeyServer

TOKEN = "a-token-for-the-tests-of-outages"


async def test_what_comes_while_redis_is_away_is_kept_and_handled(tmp_path: Path) -> None:
    """An event that comes while Redis is away is answered with 200, and is handled once Redis is back."""
    (tmp_path / "mine.py").write_text(
        "from handlers import on\n\n\n@on('*')\nasync def tell(event, ctx):\n    ctx.log.info('seen', id=event.id)\n"
    )
    (tmp_path / "redis").mkdir()
    with ValkeyServer(tmp_path / "redis") as valkey:
        env = {
            "KONVOX_REDIS_URL": valkey.url(),
            "KONVOX_HOOK_TOKENS": TOKEN,
            "KONVOX_HANDLERS": "./mine.py",
            "KONVOX_PORT": "0",
            "KONVOX_ADMIN_PORT": "0",
        }
        async with (
            await OurProcess.start("receiver", env=env, cwd=tmp_path) as receiver,
            await OurProcess.start("worker", env=env, cwd=tmp_path) as worker,
            aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
        ):
            url = f"{await receiver.listening('receiver')}/hooks/konvox/{TOKEN}"
            await worker.logged("worker.started")

            async def deliver(contact: str) -> str:
                body = sample_body("contact.replied", data={"contactId": contact, "channel": "email"})
                async with session.post(url, data=body) as answer:
                    assert answer.status == 200
                    return str((await answer.json())["id"])

            ids = [await deliver("before")]
            valkey.kill()
            ids += [await deliver(f"meanwhile-{number}") for number in range(20)]
            valkey.start()
            ids.append(await deliver("after"))
            for event_id in ids:
                await worker.logged("seen", id=event_id)
            await receiver.logged("drain.finished")
            assert await receiver.terminate() == 0
            assert await worker.terminate() == 0
        seen = [line["id"] for line in worker.log if line["event"] == "seen"]
        assert sorted(seen) == sorted(ids)
