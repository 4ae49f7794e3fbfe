"""Tests of `konvox-hooks dev` as a process: handlers are reloaded when they change, and no event is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from konvox.samples import sample_body
from tests.support.processes import OurProcess
from tests.support.terminal import free_port

TOKEN = "a-token-for-the-tests-of-dev-1234"


def source(version: str) -> str:
    """The source of a handler that logs its version."""
    return (
        "from handlers import on\n\n\n@on('*')\nasync def tell(event, ctx):\n"
        f"    ctx.log.info('seen', version='{version}', id=event.id, kind=event.type)\n"
    )


@asynccontextmanager
async def developing(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[OurProcess]:
    """`dev` in a folder with a handler, until the end of the block; it must stop in order."""
    env = {
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
    } | settings
    async with await OurProcess.start("dev", *arguments, env=env, cwd=folder) as dev:
        yield dev
        assert await dev.terminate() == 0
    assert TOKEN not in dev.stdout + dev.stderr


class Konvox:
    """Delivers events to the receiver, each a different one."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = f"{url}/hooks/konvox/{TOKEN}"
        self._session = session
        self.ids: list[str] = []

    async def deliver(self) -> str:
        """Deliver one event; returns its id."""
        body = sample_body("contact.replied", data={"contactId": f"c{len(self.ids)}", "channel": "linkedin"})
        async with self._session.post(self._url, data=body, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 200
            self.ids.append(str((await answer.json())["id"]))
        return self.ids[-1]


async def test_a_changed_handler_is_picked_up_and_no_event_is_lost(tmp_path: Path) -> None:
    """Events that come while the file is replaced, broken and fixed are all handled."""
    mine = tmp_path / "mine.py"
    mine.write_text(source("one"))
    async with developing(tmp_path) as dev, aiohttp.ClientSession() as session:
        konvox = Konvox(await dev.listening("receiver"), session)
        await dev.logged("seen", version="one", id=await konvox.deliver())
        stop = asyncio.Event()

        async def keep_delivering() -> None:
            """Deliver one event after the other."""
            while not stop.is_set():
                await konvox.deliver()
                await asyncio.sleep(0.02)  # the pace of a lively campaign

        delivering = asyncio.create_task(keep_delivering())
        mine.write_text(source("two"))
        await dev.logged("handlers.changed", files=["mine.py"])
        await dev.logged("seen", version="two")
        mine.write_text("def broken(:\n")
        await dev.logged("reload.awaited")
        assert "SyntaxError" in dev.stderr
        mine.write_text(source("three"))
        await dev.logged("seen", version="three")
        stop.set()
        await delivering
        for event_id in konvox.ids:
            await dev.logged("seen", id=event_id)
    seen = [line["id"] for line in dev.log if line["event"] == "seen"]
    assert sorted(seen) == sorted(konvox.ids)


async def test_a_handler_that_takes_long_is_released(tmp_path: Path) -> None:
    """A reload does not wait for a handler that takes long: its event is released, and runs with the new code."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import asyncio\nfrom handlers import on\n\n\n@on('*')\nasync def tell(event, ctx):\n"
        "    ctx.log.info('begun', id=event.id)\n    await asyncio.sleep(600)\n"
    )
    async with developing(tmp_path) as dev, aiohttp.ClientSession() as session:
        event_id = await Konvox(await dev.listening("receiver"), session).deliver()
        await dev.logged("begun", id=event_id)
        mine.write_text(source("two"))
        await dev.logged("seen", version="two", id=event_id)


async def test_a_sandbox_plays_konvox(tmp_path: Path) -> None:
    """With --sandbox, contacts are enrolled and reply in signed requests, and `ctx.konvox` knows them."""
    (tmp_path / "mine.py").write_text(
        "from handlers import on\n\n\n@on('enrollment.created')\nasync def tell(event, ctx):\n"
        "    campaign = await ctx.konvox.campaigns.get(event.data.campaign_id)\n"
        "    ctx.log.info('enrolled', campaign=campaign.name)\n\n\n"
        "@on('contact.replied')\ndef reply(event, ctx):\n    ctx.log.info('replied')\n"
    )
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    settings: dict[str, Any] = {
        "KONVOX_PORT": str(free_port()),
        "KONVOX_SIGNATURE": "standard-webhooks",
        "KONVOX_SIGNING_SECRETS": secret,
        "KONVOX_REQUIRE_TOKEN": "true",
    }
    async with developing(tmp_path, "--sandbox", "--rate", "20", **settings) as dev:
        await dev.logged("enrolled", campaign="Development")
        await dev.logged("replied")
    assert secret not in dev.stderr
    assert "kvx_live_dev" not in dev.stderr


async def test_what_cannot_work_is_reported(tmp_path: Path) -> None:
    """Settings that cannot work, such as no token and no signature, lead to exit code 2, and no process remains."""
    for arguments, env, message in (
        ((), {}, "KONVOX_HOOK_TOKENS"),
        (("--sandbox",), {"KONVOX_HOOK_TOKENS": TOKEN, "KONVOX_PORT": "0"}, "KONVOX_PORT"),
    ):
        async with await OurProcess.start("dev", *arguments, env=env, cwd=tmp_path) as dev:
            assert await dev.ended() == 2
        assert message in dev.stderr
        assert "Traceback" not in dev.stderr
