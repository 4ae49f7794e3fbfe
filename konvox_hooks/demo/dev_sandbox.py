"""The sandbox of `konvox-hooks dev --sandbox`: it runs in this process and delivers a stream of events.

New contacts are enrolled in a campaign all the time, and reply or opt out by the scenario.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import structlog

from konvox.client import KonvoxClient
from konvox.events import EVENT_MODELS
from konvox.samples import SAMPLE_COMPANY_ID
from konvox.sandbox import SandboxConfig, run_sandbox
from konvox.sandbox.control import FIRE_PATH
from konvox.sandbox.scenarios import UNKNOWN_EVENTS
from konvox.schemes import DEFAULT_SCHEME
from konvox_hooks.config.settings import Settings
from konvox_hooks.terminal.formatting import say
from konvox_hooks.terminal.output import PROGRAM, print_json

_HOST: Final = "127.0.0.1"
_POLL_SECONDS: Final = 0.1

logger = structlog.get_logger("konvox_hooks")


def dev_sandbox_config(settings: Settings, *, scenario: str, rate: float) -> SandboxConfig:
    """The configuration of a sandbox whose requests the receiver accepts: with its signature, for its company.

    Args:
        settings: the receiver's.
        scenario: how replies and opt-outs come, by its name in `SCENARIOS`.
        rate: how many of them come per second.
    """
    signed = settings.signature if settings.signature != "off" else None
    return SandboxConfig(
        full_key=f"kvx_live_dev_{secrets.token_hex(8)}",
        read_key=f"kvx_live_dev_{secrets.token_hex(8)}",
        scenario=scenario,
        rate=rate,
        paths=settings.konvox_paths(),
        signing_secret=settings.signing_secrets[0].get_secret_value() if signed else None,
        signing_scheme=signed or DEFAULT_SCHEME,
        signature_header=settings.signature_header,
        secret_field=None,
        company_id=settings.company_ids[0] if settings.company_ids else SAMPLE_COMPANY_ID,
    )


@asynccontextmanager
async def sandbox_running(config: SandboxConfig) -> AsyncIterator[str]:
    """Serve a sandbox on a free port as long as the block runs; yields its URL."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(run_sandbox(config, host=_HOST, port=0, on_ready=urls.put_nowait))
    serving.add_done_callback(lambda _: urls.put_nowait(""))
    try:
        url = await urls.get()
        if not url:
            serving.result()
        yield url
    finally:
        serving.cancel()
        await asyncio.wait({serving})


def announce(sandbox_url: str, *, full_key: str) -> None:
    """Show the sandbox's URL and full key on stdout, for the other commands and for requests by hand."""
    if not sys.stdout.isatty():
        print_json({"sandbox": sandbox_url, "key": full_key})
        return
    say(
        f"The sandbox, a Konvox of your own: {sandbox_url}\n\n"
        f"  KONVOX_API_URL={sandbox_url} KONVOX_API_KEY={full_key} {PROGRAM} api contacts list\n"
        f"  curl -H 'Authorization: Bearer {full_key}' -d '{{\"event\": \"contact.replied\"}}' "
        f"{sandbox_url}{FIRE_PATH}\n"
    )


async def generate_traffic(config: SandboxConfig, sandbox_url: str, *, receiver: str, hook_url: str) -> None:
    """Register the receiver once it answers, start a campaign, and enroll contacts at the rate until cancelled.

    Args:
        config: of the sandbox.
        sandbox_url: the sandbox's URL.
        receiver: the receiver's origin.
        hook_url: where the sandbox delivers events.
    """
    await _until_up(f"{receiver}/healthz")
    async with KonvoxClient(sandbox_url, config.full_key, paths=config.paths) as konvox:
        await konvox.webhooks.register(url=hook_url, events=[*EVENT_MODELS, *UNKNOWN_EVENTS])
        campaign = await konvox.campaigns.create(name="Development", channel="linkedin")
        logger.info("sandbox.traffic_started", scenario=config.scenario, rate=config.rate)
        number = 0
        while True:
            number += 1
            await konvox.contacts.create(email=f"person{number}@example.com", first_name=f"Person {number}")
            # A campaign that becomes active again enrolls the new contacts.
            await konvox.campaigns.update(campaign.id, status="paused")
            await konvox.campaigns.update(campaign.id, status="active")
            await asyncio.sleep(1 / config.rate)


async def _until_up(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(_POLL_SECONDS)
