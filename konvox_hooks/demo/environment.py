"""What the demo runs in: a temporary folder with a Valkey, a Konvox sandbox, a Slack, a receiver and a worker.

Used by `walkthrough`.
"""

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
class DemoEnvironment:
    """The servers and processes of the demo.

    Attributes:
        folder: the temporary folder that holds all files.
        variables: the environment variables of our commands.
        http: for requests to sandbox and receiver.
        store: the Valkey.
        sandbox_url: the sandbox's URL.
        receiver_url: the receiver's URL.
        token: the URL token.
        signing_secret: the sandbox signs deliveries with it.
        slack_messages: the texts that reached Slack.
    """

    folder: Path
    variables: dict[str, str]
    http: aiohttp.ClientSession
    store: Server
    sandbox_url: str = ""
    receiver_url: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    signing_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    slack_messages: list[str] = field(default_factory=list)

    @property
    def crm_fixed(self) -> Path:
        """The file whose presence fixes the CRM of the demo's handlers."""
        return self.folder / "crm-is-fixed"

    async def fire(self, event: str, data: Mapping[str, Any], *, copies: int = 1) -> list[dict[str, Any]]:
        """Make an event happen in the sandbox; returns the outcome of each delivery after the last has ended."""
        request = {"event": event, "data": data, "copies": copies, "wait": True}
        headers = {"X-API-Key": _FULL_KEY}
        async with self.http.post(self.sandbox_url + FIRE_PATH, json=request, headers=headers) as answer:
            content = await answer.json()
        if answer.status >= 300:
            raise Failed(f"the sandbox did not fire {event}: {content.get('error')}")
        outcomes: list[dict[str, Any]] = content["data"]["outcomes"]
        return outcomes

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run one of our commands; returns its exit code and its stdout."""
        async with await OurProcess.start(*arguments, env=self.variables, cwd=self.folder) as command:
            code = await command.ended()
        return code, command.stdout


@asynccontextmanager
async def demo_environment(folder: Path) -> AsyncIterator[DemoEnvironment]:
    """Start everything; at the end of the block stop it, after an error too.

    Raises:
        Failed: a process did not start, or did not stop cleanly.
    """
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(embedded_server(folder / "data"))
        store = connect(redis_url)
        stack.push_async_callback(close, store)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KONVOX_")}
        demo = DemoEnvironment(folder, inherited, http, store)
        slack_url = await stack.enter_async_context(_slack(demo.slack_messages))
        demo.variables |= _settings(demo, redis_url, slack_url)
        processes = await _start_processes(demo, stack)
        yield demo
        for process in reversed(processes):
            if await process.terminate() != 0:
                raise Failed(f"a process did not stop cleanly; it wrote:\n{process.stderr}")


def _settings(demo: DemoEnvironment, redis_url: str, slack_url: str) -> dict[str, str]:
    return {
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_DATA_DIR": str(demo.folder / "data"),
        "KONVOX_HOOK_TOKENS": demo.token,
        "KONVOX_SIGNATURE": "hmac-sha256",
        "KONVOX_SIGNING_SECRETS": demo.signing_secret,
        "KONVOX_HANDLERS": "handlers.log,handlers.slack,konvox_hooks.demo.handlers",
        "KONVOX_API_KEY": _FULL_KEY,
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
        CRM_FIXED: str(demo.crm_fixed),
        "SLACK_WEBHOOK_URL": slack_url,
    }


async def _start_processes(demo: DemoEnvironment, stack: AsyncExitStack) -> list[OurProcess]:
    """Start sandbox, receiver and worker, and wait until each is ready."""

    async def start(*arguments: str) -> OurProcess:
        process = await OurProcess.start(*arguments, env=demo.variables, cwd=demo.folder)
        return await stack.enter_async_context(process)

    options = ("--port", "0", "--full-key", _FULL_KEY, "--retry-base", "0.1")
    sandbox = await start("sandbox", *options, "--signing-secret", demo.signing_secret)
    receiver, worker = await start("receiver"), await start("worker")
    demo.sandbox_url = str((await sandbox.said(lambda line: "sandbox" in line, "its URL"))["sandbox"])
    demo.receiver_url = await receiver.listening("receiver")
    await worker.logged("worker.started")
    demo.variables |= {"KONVOX_API_URL": demo.sandbox_url, "KONVOX_PUBLIC_URL": demo.receiver_url}
    return [sandbox, receiver, worker]


@asynccontextmanager
async def _slack(messages: list[str]) -> AsyncIterator[str]:
    """A server that takes messages as Slack does; yields the URL of its incoming webhook."""

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
