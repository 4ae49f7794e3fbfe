"""The checks of Redis or Valkey: does it answer, is it durable, is its clock right? Run by `examination`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from broker.errors import BrokerUnavailableError, EmbeddedServerError, UnsafeServerError, hint_of
from broker.ownership import refuse_foreign
from broker.redis.client import OUTAGES, close, connect
from broker.redis.commands import Server
from broker.redis.durability import (
    BY_REPLY,
    confirmation_for,
    refuse_cluster,
    refuse_eviction,
    refuse_missing_rights,
    refuse_old,
    server_facts,
    try_write,
)
from broker.redis.embedded import server_binary, url_of
from broker.redis.sentinel import check_sentinels
from broker.redis.sentinel_url import SentinelAddress, is_sentinel_url, parse_sentinel_url
from broker.set_aside import wrong_keys
from konvox_hooks.config.accounts import known_by
from konvox_hooks.config.settings import variable_of
from konvox_hooks.doctor.findings import Finding, Findings, Subject, fault, not_checked, ok, warning
from konvox_hooks.errors import UsageError

_PINGS: Final = 5
_SLOW_MS: Final = 20.0
_CLOCK_SECONDS: Final = 2.0
_ENOUGH_SENTINELS: Final = 3


async def check_store(subject: Subject) -> Findings:
    """Check the configured Redis, or the embedded Valkey of the data folder."""
    settings = subject.settings
    if wrong := subject.faulty("redis_url", "data_dir"):
        yield not_checked("redis", f"{wrong} is wrong", "see above")
        return
    url = settings.redis_url.get_secret_value() if settings.redis_url else url_of(settings.data_dir)
    if is_sentinel_url(url):
        yield await _sentinels(parse_sentinel_url(url))
    server = connect(url, namespace=settings.namespace)
    try:
        try:
            latency_ms = await _latency_ms(server)
        except OUTAGES as error:
            if hint := hint_of(error):
                yield fault("redis", f"answers, and refuses: {_message(error)}", hint)
            else:
                yield _unreachable(error) if settings.redis_url else _no_embedded()
            return
        yield _judge_latency("" if settings.redis_url else "the embedded one, ", latency_ms)
        facts = await server_facts(server)
        yield judge_version(facts)
        if cluster := await _refused(refuse_cluster(server, facts)):
            yield fault("redis cluster", cluster.fault, cluster.hint)
            return
        if facts.get("role") == "slave":
            hint = f"name the primary in {variable_of('redis_url')}"
            yield fault("redis role", "this is a replica, which refuses writes", hint)
        elif forbidden := await _refused(refuse_missing_rights(server)):
            yield fault("redis rights", forbidden.fault, forbidden.hint)
        elif refused := await _refused_write(server):
            yield refused
        yield await _fault_if_refused("redis durability", _durability(server, subject, facts))
        yield await _fault_if_refused("redis eviction", _eviction(server, subject, facts))
        yield await _fault_if_refused("redis clock", _clock(server))
        yield await _fault_if_refused("redis owner", _owner(server, subject, url))
        yield await _fault_if_refused("redis content", _content(server))
    finally:
        await close(server)


async def _sentinels(address: SentinelAddress) -> Finding:
    """Check each sentinel: otherwise nobody notices that one is away until the others are away too."""
    check, count = "redis sentinels", len(address.sentinels)
    if missing := await check_sentinels(address):
        message = f"{len(missing)} of {count} name no master {address.master}: {'; '.join(missing)}"
        hint = f"start them, or correct {variable_of('redis_url')}"
        return fault(check, message, hint) if len(missing) == count else warning(check, message, hint)
    if count < _ENOUGH_SENTINELS:
        hint = "name all of them; three on machines of their own are the least that can agree when one is gone"
        return warning(check, f"only {count} in {variable_of('redis_url')}", hint)
    return ok(check, f"all {count} name a master {address.master}")


def _unreachable(error: Exception) -> Finding:
    return fault(
        "redis",
        f"cannot be reached: {_message(error)}",
        f"start it, or correct {variable_of('redis_url')}; until then receivers spool events, and no handler runs",
    )


def _no_embedded() -> Finding:
    try:
        server_binary()
    except EmbeddedServerError as error:
        return fault("redis", f"{variable_of('redis_url')} is not set, and none can be embedded", str(error))
    return ok("redis", f"{variable_of('redis_url')} is not set: `serve` brings its own, which is not running now")


async def _fault_if_refused(check: str, finding: Awaitable[Finding]) -> Finding:
    """The finding, or a fault if Redis refused a command; the other checks then still run."""
    try:
        return await finding
    except OUTAGES as error:
        return fault(check, f"Redis refused a command: {_message(error)}", "look at its log and its ACL")


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _refused(check: Awaitable[None]) -> UnsafeServerError | None:
    try:
        await check
    except UnsafeServerError as refused:
        return refused
    except OUTAGES:
        return None  # the checks behind this one say it
    return None


async def _refused_write(server: Server) -> Finding | None:
    """A fault if Redis answers and refuses writes; None if it accepts them."""
    try:
        await try_write(server)
    except OUTAGES as error:
        return fault("redis writes", f"refused: {_message(error)}", hint_of(error) or "look at its log and its ACL")
    return None


async def _latency_ms(server: Server) -> float:
    times: list[float] = []
    for _ in range(_PINGS + 1):
        started = time.perf_counter()
        await server.ping()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[1:])  # the first one connects


def _judge_latency(what: str, latency_ms: float) -> Finding:
    if latency_ms > _SLOW_MS:
        return warning("redis", f"{what}answers in {latency_ms:.1f} ms", "run it nearer to the receiver")
    return ok("redis", f"{what}answers in {latency_ms:.1f} ms")


def judge_version(facts: Mapping[str, Any]) -> Finding:
    """Check the server's version, from what INFO says. Pure."""
    valkey, redis = facts.get("valkey_version"), facts.get("redis_version")
    if not redis:
        return warning("redis version", "the server does not say it", "allow INFO to the user of the URL")
    name = f"Valkey {valkey}" if valkey else f"Redis {redis}"
    try:
        refuse_old(facts)
    except UnsafeServerError as error:
        return fault("redis version", error.fault, error.hint)
    return ok("redis version", name)


async def _durability(server: Server, subject: Subject, facts: Mapping[str, Any]) -> Finding:
    check, variable = "redis durability", variable_of("durability")
    if wrong := subject.faulty("durability"):
        return not_checked(check, f"{wrong} is wrong", "see above")
    if subject.settings.durability == "memory":
        message = f"{variable}=memory: a crash of Redis loses events that were answered with 200"
        return warning(check, message, f"{variable}=fsync, with `appendonly yes`")
    if "err" in {facts.get("aof_last_write_status"), facts.get("rdb_last_bgsave_status")}:
        return fault(check, "its last write to disk failed", "make room on its disk, and look at its log")
    if subject.settings.durability == "fsync":
        return await _fsync(server, check, facts)
    replicas = int(facts.get("connected_slaves", 0))
    if replicas < 1:
        return fault(check, "no replica is connected", f"connect one, or set {variable}=fsync")
    return ok(check, f"a 200 waits for one of its replicas; {replicas} connected")


async def _fsync(server: Server, check: str, facts: Mapping[str, Any]) -> Finding:
    try:
        confirmation = await confirmation_for(server, "fsync", facts)
    except UnsafeServerError as error:
        return fault(check, error.fault, error.hint)
    except BrokerUnavailableError as error:
        return fault(check, error.reason, "look at the load of its disk, or set `appendfsync always`")
    how = "appendfsync always" if confirmation is BY_REPLY else "WAITAOF after each batch"
    return ok(check, f"a 200 waits until the event is on its disk ({how})")


async def _eviction(server: Server, subject: Subject, facts: Mapping[str, Any]) -> Finding:
    check, hint, variable = "redis eviction", "Set `maxmemory-policy noeviction`", variable_of("allow_eviction")
    try:
        unverified = await refuse_eviction(server, facts)
    except UnsafeServerError as error:
        if subject.settings.allow_eviction:
            return warning(check, f"{error.fault}; {variable}=true allows it", hint)
        return fault(check, error.fault, error.hint)
    if unverified:
        return warning(check, "the server does not say its policy", hint)
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return warning(check, f"it would evict keys ({policy}) as soon as it has a `maxmemory`", hint)
    return ok(check, "noeviction: pending events stay")


async def _owner(server: Server, subject: Subject, url: str) -> Finding:
    check, namespace = "redis owner", server.our_keys.namespace
    if url == url_of(subject.settings.data_dir):
        return ok(check, f"the embedded one, namespace {namespace}")
    if wrong := subject.faulty("accounts_file", "hook_tokens", "signing_secrets", "company_ids"):
        return not_checked(check, f"{wrong} is wrong", "see above")
    try:
        await refuse_foreign(server, known_by(subject.settings), note=False)
    except UsageError:
        return not_checked(check, "the accounts file is wrong", "see above")
    except UnsafeServerError as error:
        return fault(check, error.fault, error.hint)
    return ok(check, f"this installation, namespace {namespace}")


async def _content(server: Server) -> Finding:
    if wrong := await wrong_keys(server):
        message = f"of another type than ours: {', '.join(wrong)}"
        return warning("redis content", message, "find out who writes there; receiver and worker set them aside")
    return ok("redis content", "all keys have the types that they should have")


async def _clock(server: Server) -> Finding:
    before = time.time()
    seconds, microseconds = await server.time()
    return compare_clocks(here=(before + time.time()) / 2, there=seconds + microseconds / 1_000_000)


def compare_clocks(*, here: float, there: float) -> Finding:
    """Judge the difference between the two clocks, both in Unix seconds. Pure."""
    ahead = there - here
    if abs(ahead) <= _CLOCK_SECONDS:
        return ok("redis clock", "the same time as this machine's")
    return warning(
        "redis clock",
        f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's",
        "let both keep time by NTP: retries and leases go by the clock of Redis, times of arrival by this one",
    )
