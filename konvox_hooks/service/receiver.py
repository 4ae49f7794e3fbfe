"""The life of a receiver, from its settings to its last answer. Run by the command `receiver`.

At the start it checks the store and takes up its spool, then it listens. A first signal stops the listener: requests
in progress are answered, and what they brought is written. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict

import structlog

from broker.redis.client import close, connect
from broker.redis.commands import Server
from broker.safe_admission import Preflight, SafeAdmission
from konvox_hooks.config.accounts import ONE_AND_ONLY, load_accounts
from konvox_hooks.config.network import listening_hosts, trusted_networks
from konvox_hooks.config.settings import Settings
from konvox_hooks.history.open_store import admission_policy
from konvox_hooks.service.admin import admin_listener
from konvox_hooks.service.file_limit import allow_connections
from konvox_hooks.service.listeners import listening
from konvox_hooks.service.process import bound_to_parent, rarely_collect_garbage, with_signals
from receiver.failover import FailoverWriter
from receiver.group_commit import GroupCommit
from receiver.listener import PublicListener
from receiver.spool import Spool
from receiver.verification import AccountPolicy

SPOOL = "spool"
"""The folder in KONVOX_DATA_DIR that takes events while Redis is away."""

CHALLENGES = "challenges"
"""The folder in KONVOX_DATA_DIR that notes which challenges of `register` and `doctor` were answered."""

logger = structlog.get_logger("konvox_hooks")


async def run_receiver(
    settings: Settings, redis_url: str, *, parent_pid: int | None = None, share_port: bool = False
) -> None:
    """Take events in until SIGTERM or SIGINT; then answer what is under way, and end. A second signal ends it at once.

    Redis need not be there: events are spooled until it is, and it has been found safe.

    Args:
        settings: the configuration.
        redis_url: where events are kept.
        parent_pid: the parent process, if we are to stop when it is gone.
        share_port: whether other receivers of this user listen on the same port.

    Raises:
        UnsafeServerError: Redis is there at the start, and would lose events.
    """
    stop = asyncio.Event()
    server = connect(redis_url)
    try:
        with_signals(_gently_then_at_once(stop))
        async with bound_to_parent(stop.set, parent_pid):
            accounts = load_accounts(settings)
            preflight = Preflight(server, settings.durability, allow_eviction=settings.allow_eviction)
            write = SafeAdmission(server, admission_policy(settings), preflight)
            async with (
                Spool(settings.data_dir / SPOOL, max_bytes=settings.spool_max_bytes) as spool,
                FailoverWriter(write, spool) as failover,
            ):
                await failover.look()
                if write.fault is not None:
                    raise write.fault
                gates = [account_policy(account, name) for name, account in accounts.items()]
                await _receive(settings, server, gates, failover, stop, share_port=share_port)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        # Whoever had no answer yet sends again: without a 200 nothing was promised.
        logger.warning("receiver.aborted")
    finally:
        await close(server)


async def _receive(
    settings: Settings,
    server: Server,
    gates: Sequence[AccountPolicy],
    failover: FailoverWriter,
    stop: asyncio.Event,
    *,
    share_port: bool,
) -> None:
    admission = GroupCommit(failover.write, overflow=failover.spool)
    public = PublicListener(
        gates,
        admission,
        stop_seconds=settings.stop_seconds,
        most_connections=allow_connections(),
        idle_seconds=settings.idle_seconds,
        trusted_proxies=trusted_networks(settings.trusted_proxies),
        nonce_dir=settings.data_dir / CHALLENGES,
        share_port=share_port,
    )
    counters = public.counters

    def readings() -> dict[str, float]:
        return {
            "receiver_events_accepted_total": counters.accepted,
            "receiver_events_duplicate_total": counters.duplicates,
            "receiver_events_unavailable_total": counters.unavailable,
            "receiver_requests_refused_total": counters.refused,
            "receiver_requests_shed_total": counters.shed,
            "receiver_connections_evicted_total": counters.evicted,
            "receiver_storage_lost": int(not failover.ready),
            "spool_events": failover.spooled_events,
            "spool_bytes": failover.spooled_bytes,
        }

    async def ready() -> bool:
        if failover.state == "direct":
            await failover.look()  # where no event comes, nobody else finds out that Redis answers and takes none
        # Red as soon as the spool is needed: somebody should look. What decides about traffic is the public `/healthz`.
        return failover.state != "spooling" and not stop.is_set()

    admin = admin_listener("receiver", server, ready=ready, readings=readings, names=settings.admin_hosts)
    async with (
        listening(admin, listening_hosts(settings.admin_host), settings.admin_port, name="receiver.admin"),
        listening(public, listening_hosts(settings.host), settings.port, name="receiver"),
    ):
        rarely_collect_garbage()
        await stop.wait()
        logger.info("receiver.stopping")
    await admission.drain()
    logger.info("receiver.stopped", **asdict(counters))


def account_policy(settings: Settings, account: str = ONE_AND_ONLY) -> AccountPolicy:
    """What the settings of an account ask of a request."""
    return AccountPolicy(
        account=account,
        needs_token=settings.require_token,
        tokens=[token.get_secret_value() for token in settings.hook_tokens],
        scheme=settings.signature,
        signature_header=settings.signature_header,
        signing_secrets=[secret.get_secret_value() for secret in settings.signing_secrets],
        company_ids=frozenset(settings.company_ids),
        max_body_bytes=settings.max_body_bytes,
        public_url=settings.public_url,
    )


def _gently_then_at_once(stop: asyncio.Event) -> Callable[[], None]:
    """Makes a function: its first call ends the current task gently, its second cancels it, further ones do nothing."""
    task, cancelled = asyncio.current_task(), False

    def on_signal() -> None:
        nonlocal cancelled
        if stop.is_set() and task is not None and not cancelled:
            cancelled = task.cancel()
        stop.set()

    return on_signal
