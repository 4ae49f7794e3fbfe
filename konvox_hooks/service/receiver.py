"""The life of a receiver, from its settings to its last answer. Run by `konvox-hooks receiver`.

- Start: open the spool, check Redis (it may be away, but not unsafe), then listen.
- The first SIGTERM or SIGINT: stop listening, answer the requests in progress within KONVOX_STOP_SECONDS, write their
  events, end with exit code 0.
- The second: end at once. A request without an answer loses nothing: Konvox sends it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import structlog

from broker.private_files import make_data_folder
from broker.redis.client import close, connect
from broker.redis.commands import Server
from broker.safe_admission import SafeAdmission
from konvox_hooks.config.accounts import ANY_COMPANY_RISK, COMPANIES_HINT, DEFAULT_ACCOUNT, load_accounts
from konvox_hooks.config.network import listening_hosts, trusted_networks
from konvox_hooks.config.settings import Settings
from konvox_hooks.history.open_store import admission_policy, preflight_of
from konvox_hooks.process.signals import bound_to_parent, on_stop_signal
from konvox_hooks.service.admin import admin_listener
from konvox_hooks.service.file_limit import allow_connections
from konvox_hooks.service.garbage import tune_garbage_collection
from konvox_hooks.service.listeners import listening
from receiver.failover import FailoverWriter
from receiver.group_commit import GroupCommit
from receiver.listener import PublicListener
from receiver.refusals import REASONS
from receiver.spool import Spool
from receiver.verification import AccountPolicy

logger = structlog.get_logger("konvox_hooks")


async def run_receiver(
    settings: Settings, redis_url: str, *, parent_pid: int | None = None, share_port: bool = False
) -> None:
    """Accept events until SIGTERM or SIGINT; then answer the requests in progress, and return.

    Redis may be away at the start: events are spooled until it answers and is found safe.

    Args:
        settings: the configuration.
        redis_url: where events are kept.
        parent_pid: stop when the parent is no longer this process; None: there is no parent to watch.
        share_port: whether other receivers of this user listen on the same port.

    Raises:
        UnsafeServerError: Redis answers at the start, and would lose events.
        UsageError: an account is wrong, or an address cannot be listened on.
    """
    stop = asyncio.Event()
    server = connect(redis_url, namespace=settings.namespace)
    try:
        on_stop_signal(_stop_then_abort(stop))
        async with bound_to_parent(stop.set, parent_pid):
            await _run_until_stopped(settings, redis_url, server, stop, share_port=share_port)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        # No 200 was sent for the requests that are lost here, so Konvox sends them again.
        logger.warning("receiver.aborted")
    finally:
        await close(server)


async def _run_until_stopped(
    settings: Settings, redis_url: str, server: Server, stop: asyncio.Event, *, share_port: bool
) -> None:
    """Start, serve until `stop` is set, then write what is still in memory."""
    policies = _account_policies(settings)
    make_data_folder(settings.data_dir)
    preflight = preflight_of(settings, redis_url, server)
    write = SafeAdmission(server, admission_policy(settings), preflight)
    async with (
        Spool(settings.spool_dir, max_bytes=settings.spool_max_bytes) as spool,
        FailoverWriter(write, spool) as failover,
    ):
        await failover.look()
        if write.fault is not None:
            raise write.fault
        admission = GroupCommit(failover.write, overflow=failover.spool)
        public = PublicListener(
            policies,
            admission,
            stop_seconds=settings.stop_seconds,
            most_connections=allow_connections(),
            idle_seconds=settings.idle_seconds,
            trusted_proxies=trusted_networks(settings.trusted_proxies),
            nonce_dir=settings.challenges_dir,
            share_port=share_port,
        )
        await _serve(settings, server, public, failover, stop)
        await admission.drain()
        logger.info("receiver.stopped", **asdict(public.counters))


async def _serve(
    settings: Settings, server: Server, public: PublicListener, failover: FailoverWriter, stop: asyncio.Event
) -> None:
    """Listen until `stop` is set. Leaving the listeners answers the requests in progress."""

    async def ready() -> bool:
        if failover.state == "direct":
            await failover.look()  # while no event comes, nothing else notices that Redis refuses writes
        # Not ready while the spool is in use: an operator should look. Traffic depends on the public `/healthz` only.
        return failover.state != "spooling" and not stop.is_set()

    readings = partial(_readings, public, failover)
    admin = admin_listener("receiver", server, ready=ready, readings=readings, names=settings.admin_hosts)
    async with (
        listening(admin, listening_hosts(settings.admin_host), settings.admin_port, name="receiver.admin"),
        listening(public, listening_hosts(settings.host), settings.port, name="receiver"),
    ):
        tune_garbage_collection()
        await stop.wait()
        logger.info("receiver.stopping")


def _account_policies(settings: Settings) -> list[AccountPolicy]:
    """The policy of each account, after a warning for each that has no companies although there are others."""
    accounts = load_accounts(settings)
    for name, account in accounts.items():
        if len(accounts) > 1 and not account.company_ids:
            logger.warning("companies.not_configured", account=name, risk=ANY_COMPANY_RISK, hint=COMPANIES_HINT)
    return [account_policy(account, name) for name, account in accounts.items()]


def account_policy(settings: Settings, account: str = DEFAULT_ACCOUNT) -> AccountPolicy:
    """What a request must prove to be accepted for an account."""
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


def _readings(public: PublicListener, failover: FailoverWriter) -> dict[str, float]:
    """The receiver's own counts, for the admin listener."""
    counters = public.counters
    return {
        "receiver_events_accepted_total": counters.accepted,
        "receiver_events_duplicate_total": counters.duplicates,
        "receiver_events_unavailable_total": counters.unavailable,
        "receiver_requests_refused_total": counters.refused,
        **{
            f'receiver_refusals_total{{reason="{reason}"}}': counters.refused_by_reason.get(reason, 0)
            for reason in REASONS
        },
        "receiver_requests_shed_total": counters.shed,
        "receiver_connections_evicted_total": counters.evicted,
        "receiver_storage_lost": int(not failover.ready),
        "spool_events": failover.spooled_events,
        "spool_bytes": failover.spooled_bytes,
    }


def _stop_then_abort(stop: asyncio.Event) -> Callable[[], None]:
    """The signal handler: the first call sets `stop`, the second cancels the current task, later ones do nothing."""
    task, cancelled = asyncio.current_task(), False

    def on_signal() -> None:
        nonlocal cancelled
        if stop.is_set() and task is not None and not cancelled:
            cancelled = task.cancel()
        stop.set()

    return on_signal
