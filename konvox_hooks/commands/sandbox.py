"""`konvox-hooks sandbox`: run a local Konvox with the documented API calls and deliveries."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from konvox.errors import KonvoxError
from konvox.inferred import RETRY_BASE_SECONDS, SECRET_FIELDS, SIGNATURE_HEADER
from konvox.sandbox import SandboxConfig, run_sandbox
from konvox.sandbox.control import DELIVERIES_PATH, FIRE_PATH
from konvox.sandbox.scenarios import SCENARIOS
from konvox.sandbox.storage import StateFileError
from konvox.schemes import DEFAULT_SCHEME, SCHEMES
from konvox_hooks.config.load import load_settings
from konvox_hooks.errors import UsageError
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.process.signals import on_stop_signal
from konvox_hooks.terminal.output import print_json

_HOST = "127.0.0.1"
_NOWHERE = "none"


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="Port to listen on; 0: a free one."
)
@click.option("--full-key", default="kvx_live_sandbox_full", show_default=True, help="API key with full scope.")
@click.option("--read-key", default="kvx_live_sandbox_read", show_default=True, help="API key that may only read.")
@click.option(
    "--retry-base",
    "retry_base_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=RETRY_BASE_SECONDS,
    show_default=True,
    help="Wait before the first retry; it doubles with each further one.",
)
@click.option("--signing-secret", help="Sign each delivery with it. Default: no signature, as Konvox documents none.")
@click.option(
    "--signing-scheme",
    type=click.Choice(list(SCHEMES)),
    default=DEFAULT_SCHEME,
    show_default=True,
    help="How to sign.",
)
@click.option(
    "--signature-header",
    default=SIGNATURE_HEADER,
    show_default=True,
    help="Header for the signature, in schemes that do not name their own.",
)
@click.option(
    "--secret-in-response",
    type=click.Choice([*SECRET_FIELDS, _NOWHERE]),
    default=SECRET_FIELDS[0],
    show_default=True,
    help="Field of a registration's answer that holds the signing secret.",
)
@click.option(
    "--state",
    "state_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep all records in this file, and load it at the start.",
)
@click.option(
    "--scenario",
    type=click.Choice(list(SCENARIOS)),
    help="Let enrolled contacts reply and opt out: evenly, in bursts, or with duplicates, reordering, late retries and"
    " unknown events too.",
)
@click.option(
    "--rate",
    metavar="EVENTS_PER_SECOND",
    type=click.FloatRange(min=0, min_open=True),
    help="Average rate of replies and opt-outs in a scenario.  [default: 1]",
)
@click.option("--seed", type=int, help="Makes a scenario repeatable: who does what, in which order.")
def command(*, port: int, secret_in_response: str, rate: float | None, **options: Any) -> None:
    """Run a local Konvox to try things with, until SIGTERM or Ctrl-C.

    It listens on 127.0.0.1 only, and forgets everything at its end unless --state names a file. To register your
    receiver, set KONVOX_API_URL and KONVOX_API_KEY to its URL and full key. POST to /sandbox/fire, with that key, makes
    an event happen. A campaign that becomes active enrolls the contacts, with an event for each.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    if options["scenario"] is None and (rate is not None or options["seed"] is not None):
        raise UsageError("--rate and --seed need a scenario: choose one with --scenario")
    options["signing_secret"] = options["signing_secret"] or None
    options["secret_field"] = None if secret_in_response == _NOWHERE else secret_in_response
    try:
        config = SandboxConfig(rate=1.0 if rate is None else rate, paths=settings.konvox_paths(), **options)
    except (KonvoxError, ValueError) as error:
        raise UsageError(str(error)) from None
    asyncio.run(_serve(config, port))


async def _serve(config: SandboxConfig, port: int) -> None:
    serving = asyncio.ensure_future(
        run_sandbox(config, host=_HOST, port=port, on_ready=partial(_announce, config.full_key))
    )
    on_stop_signal(serving.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await serving
    except StateFileError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"cannot listen on {_HOST}:{port}: {error.strerror or error}; choose another --port") from None


def _announce(key: str, url: str) -> None:
    if not sys.stdout.isatty():
        print_json({"sandbox": url, "fire": url + FIRE_PATH, "deliveries": url + DELIVERIES_PATH})
        return
    click.echo(
        f"Your local Konvox: {url}\n\n"
        f"  KONVOX_API_URL={url}\n"
        f'  curl -H "X-API-Key: {key}" -d \'{{"event": "contact.replied"}}\' {url}{FIRE_PATH}\n'
        f'  curl -H "X-API-Key: {key}" {url}{DELIVERIES_PATH}\n\n'
        "KONVOX_API_KEY is its full key: see konvox-hooks sandbox --help."
    )
