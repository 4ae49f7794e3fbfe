"""`konvox-hooks sandbox`: a Konvox on one's own machine, with the documented webhook calls and deliveries."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import click

from console.errors import UsageError
from console.logs import configure_logging
from console.output import print_json
from console.roles import with_signals
from console.settings import load_settings
from konvox.sandbox import SandboxConfig, run_sandbox
from konvox.sandbox.control import DELIVERIES_PATH, FIRE_PATH

_HOST = "127.0.0.1"


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="Port to listen on; 0: any free one."
)
@click.option("--full-key", default="kvx_live_sandbox_full", show_default=True, help="API key with full scope.")
@click.option("--read-key", default="kvx_live_sandbox_read", show_default=True, help="API key that may only read.")
@click.option(
    "--retry-base",
    "retry_base_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Wait before the first retry; it doubles with each further one.",
)
@click.option("--signing-secret", help="Sign each delivery with it (HMAC-SHA256, in X-Konvox-Signature).")
def command(*, port: int, full_key: str, read_key: str, retry_base_seconds: float, signing_secret: str | None) -> None:
    """Run a Konvox of your own until SIGTERM or Ctrl-C, to try things on.

    It listens on 127.0.0.1 only, and forgets everything when it ends. Register an endpoint with it by setting
    KONVOX_API_URL and KONVOX_API_KEY to its URL and its full key; POST to /sandbox/fire makes an event happen.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    try:
        config = SandboxConfig(
            full_key=full_key,
            read_key=read_key,
            signing_secret=signing_secret or None,
            retry_base_seconds=retry_base_seconds,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    asyncio.run(_serve(config, port))


async def _serve(config: SandboxConfig, port: int) -> None:
    serving = asyncio.ensure_future(run_sandbox(config, host=_HOST, port=port, on_ready=_announce))
    with_signals(serving.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await serving
    except OSError as error:
        raise UsageError(f"cannot listen on {_HOST}:{port}: {error.strerror or error}; choose another --port") from None


def _announce(url: str) -> None:
    if not sys.stdout.isatty():
        print_json({"sandbox": url, "fire": url + FIRE_PATH, "deliveries": url + DELIVERIES_PATH})
        return
    click.echo(
        f"A Konvox of your own: {url}\n\n"
        f"  KONVOX_API_URL={url}\n"
        f'  curl -d \'{{"event": "contact.replied"}}\' {url}{FIRE_PATH}\n'
        f"  curl {url}{DELIVERIES_PATH}\n\n"
        "KONVOX_API_KEY is its full key: see konvox-hooks sandbox --help."
    )
