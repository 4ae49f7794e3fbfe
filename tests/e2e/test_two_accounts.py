"""Tests of several Konvox accounts on one service, with real processes."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from konvox.samples import sample_body
from konvox.schemes import SCHEMES, Delivery
from tests.support.processes import OurProcess

_HANDLER = """
from handlers import on


@on("*")
async def tell(event, ctx):
    ctx.log.info("seen", customer=event.account, id=event.id)
"""

_ACCOUNTS = """
[acme]
hook_tokens = ["a-token-only-acme-knows"]
company_ids = ["clxyz123"]

[globex]
signature = "standard-webhooks"
signing_secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
"""


async def test_handlers_see_by_which_endpoint_an_event_came(tmp_path: Path) -> None:
    """A token leads to one account, a signature to another, and no account's event is a duplicate of another's."""
    (tmp_path / "mine.py").write_text(_HANDLER)
    (tmp_path / "accounts.toml").write_text(_ACCOUNTS)
    env = {
        "KONVOX_ACCOUNTS_FILE": "accounts.toml",
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
    }
    acme = globex = sample_body("contact.replied")
    async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
        await serve.logged("companies.not_configured", account="globex")
        hooks = await serve.listening("receiver") + "/hooks/konvox"
        now_seconds = int((tmp_path / "mine.py").stat().st_mtime)
        signed = SCHEMES["standard-webhooks"].sign(
            Delivery(globex, "msg_1", now_seconds), header="", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        )
        async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
            async with session.post(f"{hooks}/a-token-only-acme-knows", data=acme) as answer:
                assert answer.status == 200
                acme_id = (await answer.json())["id"]
            async with session.post(hooks, data=globex, headers=signed) as answer:
                assert answer.status == 200
                assert (await answer.json())["status"] == "accepted"
                globex_id = (await answer.json())["id"]
            async with session.post(hooks, data=globex) as answer:
                assert answer.status == 401
        await serve.logged("seen", customer="acme", id=acme_id)
        await serve.logged("seen", customer="globex", id=globex_id)
        assert await serve.terminate() == 0
