"""The service as a whole, as real processes."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from konvox.samples import sample_body
from tests.support.processes import OurProcess

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
