"""`konvox-hooks adopt`: tell a store that it belongs to this installation."""

from __future__ import annotations

import asyncio

import click

from broker.ownership import adopt
from broker.redis.client import outages_as_unavailable
from konvox_hooks.config.accounts import known_by
from konvox_hooks.config.load import load_settings
from konvox_hooks.errors import UsageError
from konvox_hooks.history.open_store import open_any_store
from konvox_hooks.terminal.formatting import example, say


@click.command(epilog=example("adopt"))
def command() -> None:
    """Make the store in Redis this installation's, also if it was another's.

    A store remembers by what its installation is known: URL tokens, signing secrets and companies, as marks of which
    nobody can tell the tokens. Receivers, workers and commands that know none of them are refused, because two
    installations in one store would run each other's events. Use this command if all of them have changed at once, or
    if you move an installation's events to another one. Its pending events then run with the handlers of this one.
    """
    settings = load_settings()
    known = known_by(settings)
    if not known:
        raise UsageError("no token, signing secret or company is configured, so there is nothing to know this one by")

    async def run() -> None:
        async with open_any_store(settings) as server:
            with outages_as_unavailable():
                await adopt(server, known)

    asyncio.run(run())
    say(f"the store (namespace {settings.namespace}) is this installation's now")
