"""The stage of the demo: a temporary folder with a Valkey, a sandbox for Konvox, a Slack, a receiver and a worker."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from broker.redis.client import close, connect
from broker.redis.commands import Server
from broker.redis.embedded import embedded_server
from konvox.sandbox.control import FIRE_PATH
from konvox_hooks.demo.command_process import OurProcess
from konvox_hooks.demo.handlers import CRM_FIXED
from konvox_hooks.errors import Failed

_FULL_KEY = "kvx_live_demo_full"


@dataclass(slots=True)
class Stage:
    """What the story is played on.

    Attributes:
        folder: temporary; everything is in it.
        environment: of our commands.
        http: for requests to sandbox and receiver.
        store: the Valkey.
        sandbox_url: where the sandbox takes orders.
        receiver_url: where the receiver listens.
        token: the URL token.
        signing_secret: what deliveries are signed with.
        slack_messages: what reached Slack.
    """

    folder: Path
    environment: dict[str, str]
    http: aiohttp.ClientSession
    store: Server
    sandbox_url: str = ""
    receiver_url: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    signing_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    slack_messages: list[str] = field(default_factory=list)

    @property
    def crm_fixed(self) -> Path:
        """The file that fixes the CRM of the demo's handlers."""
        return self.folder / "crm-is-repaired"

    async def fire(self, event: str, data: Mapping[str, Any], *, copies: int = 1) -> list[dict[str, Any]]:
        """Have an event happen in the sandbox; returns what became of each delivery, once the last has ended."""
        order = {"event": event, "data": data, "copies": copies, "wait": True}
        headers = {"X-API-Key": self.environment["KONVOX_API_KEY"]}
        async with self.http.post(self.sandbox_url + FIRE_PATH, json=order, headers=headers) as answer:
            content = await answer.json()
        if answer.status >= 300:
            raise Failed(f"the sandbox did not fire {event}: {content.get('error')}")
        outcomes: list[dict[str, Any]] = content["data"]["outcomes"]
        return outcomes

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run one of our commands to its end; returns its exit code and what it wrote to stdout."""
        async with await OurProcess.start(*arguments, env=self.environment, cwd=self.folder) as command:
            code = await command.ended()
        return code, command.stdout


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Set the stage, and clear it again, whatever happens in between."""
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(embedded_server(folder / "data"))
        store = connect(redis_url)
        stack.push_async_callback(close, store)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
        this = Stage(folder, clean, http, store)
        this.environment |= {
            "KONVOX_REDIS_URL": redis_url,
            "KONVOX_DATA_DIR": str(folder / "data"),
            "KONVOX_HOOK_TOKENS": this.token,
            "KONVOX_SIGNATURE": "hmac-sha256",
            "KONVOX_SIGNING_SECRETS": this.signing_secret,
            "KONVOX_HANDLERS": "handlers.log,handlers.slack,konvox_hooks.demo.handlers",
            "KONVOX_API_KEY": _FULL_KEY,
            "KONVOX_PORT": "0",
            "KONVOX_ADMIN_PORT": "0",
            "KONVOX_LOG_FORMAT": "json",
            CRM_FIXED: str(this.crm_fixed),
            "SLACK_WEBHOOK_URL": await stack.enter_async_context(_slack(this.slack_messages)),
        }

        async def start(*arguments: str) -> OurProcess:
            process = await OurProcess.start(*arguments, env=this.environment, cwd=folder)
            return await stack.enter_async_context(process)

        options = ("--port", "0", "--full-key", _FULL_KEY, "--retry-base", "0.1")
        sandbox = await start("sandbox", *options, "--signing-secret", this.signing_secret)
        receiver, worker = await start("receiver"), await start("worker")
        this.sandbox_url = str((await sandbox.said(lambda line: "sandbox" in line, "its URL"))["sandbox"])
        this.receiver_url = await receiver.listening("receiver")
        await worker.logged("worker.started")
        this.environment |= {"KONVOX_API_URL": this.sandbox_url, "KONVOX_PUBLIC_URL": this.receiver_url}
        yield this
        for process in (worker, receiver, sandbox):
            if await process.terminate() != 0:
                raise Failed(f"a process did not stop cleanly; it wrote:\n{process.stderr}")


@asynccontextmanager
async def _slack(messages: list[str]) -> AsyncIterator[str]:
    """A Slack that takes incoming-webhook messages; yields the webhook's URL."""

    async def take(request: web.Request) -> web.Response:
        messages.append((await request.json())["text"])
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/services/demo", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/services/demo"
    finally:
        await runner.cleanup()
