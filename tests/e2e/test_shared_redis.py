"""Staging and production on one Redis database, with real processes: refused, or apart by their namespaces."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from konvox.samples import sample_body
from tests.support.processes import OurProcess

_HANDLER = """
import os

from handlers import on


@on("*")
async def tell(event, ctx):
    ctx.log.info("ran", by=os.environ["WHO"], id=event.id, company=event.company_id)
"""


def settings_of(who: str, redis_url: str, folder: Path, **more: str) -> dict[str, str]:
    """The environment of an installation with a token, a company and a handler of its own."""
    home = folder / who
    home.mkdir(exist_ok=True)
    (home / "mine.py").write_text(_HANDLER)
    return {
        "WHO": who,
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_HOOK_TOKENS": f"a-token-of-{who}-0123456789",
        "KONVOX_COMPANY_IDS": f"cl{who}",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
        **more,
    }


async def test_another_installation_on_the_same_database_is_refused(tmp_path: Path, redis_url: str) -> None:
    """Receiver and commands of the other one end with exit code 2 and the ways out; `adopt` is one of them."""
    prod, staging = (settings_of(who, redis_url, tmp_path) for who in ("prod", "staging"))
    async with await OurProcess.start("receiver", env=prod, cwd=tmp_path / "prod") as receiver:
        await receiver.listening("receiver")
        async with await OurProcess.start("worker", env=staging, cwd=tmp_path / "staging") as worker:
            assert await worker.ended() == 2
            assert all(way in worker.stderr for way in ("KONVOX_NAMESPACE", "KONVOX_REDIS_URL", "adopt"))
        for command in ("receiver", "serve"):
            async with await OurProcess.start(command, env=staging, cwd=tmp_path / "staging") as process:
                assert await process.ended() == 2
                assert "KONVOX_NAMESPACE" in process.stderr
        async with await OurProcess.start("events", "list", env=staging, cwd=tmp_path / "staging") as events:
            assert await events.ended() == 2
        async with await OurProcess.start("doctor", env=staging, cwd=tmp_path / "staging") as doctor:
            assert await doctor.ended() == 1
            assert "another installation" in doctor.stdout
        assert await receiver.terminate() == 0
    async with await OurProcess.start("adopt", env=staging, cwd=tmp_path / "staging") as adopt:
        assert await adopt.ended() == 0
    async with await OurProcess.start("events", "list", env=staging, cwd=tmp_path / "staging") as events:
        assert await events.ended() == 0


async def test_two_namespaces_on_one_database_never_meet(tmp_path: Path, redis_url: str) -> None:
    """Six events of each installation, and the same body to both: each is handled by its own handlers alone."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"Content-Type": "application/json"}))
        services, hooks = {}, {}
        for who in ("prod", "staging"):
            env = settings_of(who, redis_url, tmp_path, KONVOX_NAMESPACE=f"konvox-{who}")
            services[who] = await stack.enter_async_context(
                await OurProcess.start("serve", env=env, cwd=tmp_path / who)
            )
            origin = await services[who].listening("receiver")
            hooks[who] = f"{origin}/hooks/konvox/{env['KONVOX_HOOK_TOKENS']}"
        accepted: dict[str, set[str]] = {who: set() for who in services}
        for number in range(6):
            for who, url in hooks.items():
                body = sample_body("contact.replied", data={"contactId": f"c{number}"}, company_id=f"cl{who}")
                async with session.post(url, data=body) as answer:
                    assert answer.status == 200
                    accepted[who].add((await answer.json())["id"])
        for who, service in services.items():
            for event_id in accepted[who]:
                await service.logged("ran", by=who, id=event_id, company=f"cl{who}")
            ran = {line["id"] for line in service.log if line["event"] == "ran"}
            assert (len(accepted[who]), ran) == (6, accepted[who])
        for service in services.values():
            assert await service.terminate() == 0
