"""Which Redis a command uses: the configured one, or the embedded Valkey of the data folder. Called by the commands."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from broker.admission import AdmissionPolicy
from broker.errors import DataFolderError
from broker.ownership import refuse_foreign
from broker.redis.client import OUTAGES, close, connect
from broker.redis.commands import Server
from broker.redis.durability import BY_REPLY, Confirmation
from broker.redis.embedded import embedded_server, url_of
from broker.safe_admission import Preflight
from konvox_hooks.config.accounts import known_by
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError


def configured_redis(settings: Settings, *, command: str) -> str:
    """The URL of the configured Redis, for a role that must share it with others.

    Raises:
        UsageError: no Redis is configured; the message names `command`.
    """
    if settings.redis_url is None:
        raise UsageError(
            f"KONVOX_REDIS_URL: `{command}` needs a Redis or Valkey that receiver and worker share "
            "(example: KONVOX_REDIS_URL=redis://127.0.0.1:6379/0); `konvox-hooks serve` brings its own"
        )
    return settings.redis_url.get_secret_value()


@asynccontextmanager
async def redis_or_embedded(settings: Settings) -> AsyncIterator[str]:
    """The URL of the configured Redis, or else of an embedded Valkey that runs as long as the block."""
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    async with embedded_server(settings.data_dir) as url:
        yield url


@asynccontextmanager
async def open_store(settings: Settings, *, may_be_new: bool = False) -> AsyncIterator[Server]:
    """A connection for a command that reads or changes the store.

    Without KONVOX_REDIS_URL it leads to the embedded Valkey of the data folder. If `serve` is not running it, it is
    started for the command.

    Args:
        settings: the configuration.
        may_be_new: whether the data folder may be empty, because the command brings events itself.

    Raises:
        UsageError: no Redis is configured, and the data folder holds no data.
        UnsafeServerError: the store is another installation's.
    """
    async with open_any_store(settings, may_be_new=may_be_new) as server:
        await _refuse_foreign(settings, _url(settings), server)
        yield server


@asynccontextmanager
async def open_any_store(settings: Settings, *, may_be_new: bool = False) -> AsyncIterator[Server]:
    """The same, also where the store is another installation's."""
    if settings.redis_url is not None or await _embedded_is_running(settings):
        async with _connected(settings, _url(settings)) as server:
            yield server
        return
    if not may_be_new and not (settings.data_dir / "appendonlydir").is_dir():
        raise UsageError(
            f"there is nothing to look at: no KONVOX_REDIS_URL is set, and {settings.data_dir} (KONVOX_DATA_DIR) holds "
            "no data of `konvox-hooks serve`"
        )
    async with embedded_server(settings.data_dir) as url, _connected(settings, url) as server:
        yield server


@asynccontextmanager
async def watched_store(settings: Settings) -> AsyncIterator[Server]:
    """A connection for a command that watches the store and waits while it is away.

    It never starts the embedded Valkey: then `serve` could not start its own on the same data folder.
    """
    if settings.redis_url is None:
        try:
            os.scandir(settings.data_dir).close()
        except FileNotFoundError:
            pass  # `serve` will make it
        except OSError as error:
            raise DataFolderError(settings.data_dir, error) from None
    async with _connected(settings, _url(settings)) as server:
        await _refuse_foreign(settings, _url(settings), server)
        yield server


def admission_policy(settings: Settings, confirmation: Confirmation = BY_REPLY) -> AdmissionPolicy:
    """How events are admitted, by the settings. Called by the receiver and by `admit_all`."""
    return AdmissionPolicy(settings.dedupe_seconds, settings.log_retention_seconds, confirmation)


def preflight_of(settings: Settings, redis_url: str, server: Server) -> Preflight:
    """The check of the store before a role writes to it."""
    return Preflight(
        server,
        settings.durability,
        allow_eviction=settings.allow_eviction,
        known_by=known_by(settings) if _may_be_shared(settings, redis_url) else (),
    )


def _may_be_shared(settings: Settings, redis_url: str) -> bool:
    """Whether another installation may use the same Redis; the embedded one belongs to its data folder."""
    return redis_url != url_of(settings.data_dir)


async def _refuse_foreign(settings: Settings, redis_url: str, server: Server) -> None:
    if _may_be_shared(settings, redis_url):
        # A fault of the accounts file is for the roles, which let requests in by it.
        with suppress(UsageError, *OUTAGES):  # the command meets the outage as well, and knows what to say
            await refuse_foreign(server, known_by(settings), note=False)


def _url(settings: Settings) -> str:
    return settings.redis_url.get_secret_value() if settings.redis_url else url_of(settings.data_dir)


@asynccontextmanager
async def _connected(settings: Settings, url: str) -> AsyncIterator[Server]:
    server = connect(url, namespace=settings.namespace)
    try:
        yield server
    finally:
        await close(server)


async def _embedded_is_running(settings: Settings) -> bool:
    async with _connected(settings, url_of(settings.data_dir)) as server:
        try:
            await server.ping()
        except OUTAGES:
            return False
        return True
