"""What must have happened before we may answer 200, and whether the server can do it.

Used at start and after each outage (`broker.safe_admission`), by `konvox-hooks doctor`, and by each admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import ResponseError

from broker.errors import BrokerUnavailableError, UnsafeServerError
from broker.redis.client import COMMAND_TIMEOUT_SECONDS
from broker.redis.commands import Server
from broker.redis.rights import missing_rights

Durability = Literal["fsync", "replicas", "memory"]

OLDEST_VERSION = (7, 0)
"""The oldest Redis whose scripts may declare that they run although the memory is full. Every Valkey is newer."""

_OF_CLUSTERS = ("CROSSSLOT", "MOVED", "CLUSTERDOWN", "Keys in request don't hash", "The cluster is down")

_WAIT_MS = round(COMMAND_TIMEOUT_SECONDS * 1000 * 0.75)
"""Shorter than the time-out of the connection, so that the server answers before it."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How a batch is known to be durable.

    Attributes:
        command: what is sent behind the batch; None where the answer to the batch itself says it.
        needed: the minimum of each number in the command's answer.
    """

    command: tuple[str | int, ...] | None
    needed: tuple[int, ...] = ()

    def check(self, answer: Any) -> None:
        """Raise BrokerUnavailableError unless the answer says that the batch is durable."""
        numbers = answer if isinstance(answer, list) else [answer]
        if any(int(number) < least for number, least in zip(numbers, self.needed, strict=False)):
            name = self.command[0] if self.command else "the server"
            raise BrokerUnavailableError(f"the write was not confirmed as durable in time ({name}: {numbers})")


BY_REPLY = Confirmation(None)
"""The server answers a write only when it is durable (`appendfsync always`), or durability is not asked for."""

BY_WAITAOF = Confirmation(("WAITAOF", 1, 0, _WAIT_MS), needed=(1,))
"""The server is asked to wait until its own append-only file is on disk (Redis 7.2 or Valkey)."""


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """What the check of a server found, where the server may be used.

    Attributes:
        confirmation: how a batch is known to be durable there.
        unverified: what could not be checked, or what the operator accepts as a risk; a sentence each, with a hint.
    """

    confirmation: Confirmation
    unverified: tuple[str, ...] = ()


async def check_server(server: Server, durability: Durability, *, allow_eviction: bool = False) -> ServerCheck:
    """Make sure that the server keeps what it is given.

    Args:
        server: Redis.
        durability: what a 200 promises.
        allow_eviction: whether a server that evicts keys is a warning rather than a fault.

    Raises:
        UnsafeServerError: with its settings, the server would lose events.
        BrokerUnavailableError: it is a replica at the moment, and takes no writes.
    """
    facts = await server_facts(server)
    if facts.get("role") == "slave":
        # The next connection looks the server up again, and may find the master.
        await server.connection_pool.disconnect(inuse_connections=False)
        raise BrokerUnavailableError("it is a replica, which refuses writes")
    version = refuse_old(facts)
    await refuse_cluster(server, facts)
    await refuse_missing_rights(server)
    try:
        eviction = await refuse_eviction(server, facts)
    except UnsafeServerError as unsafe:
        if not allow_eviction:
            raise
        eviction = f"{unsafe}. It is used all the same, because you allow it"
    confirmation = await confirmation_for(server, durability, facts)
    return ServerCheck(confirmation, tuple(sentence for sentence in (version, eviction) if sentence))


async def refuse_cluster(server: Server, facts: Mapping[str, Any]) -> None:
    """Refuse Redis Cluster: our scripts use keys of several slots, and a worker would hear of nothing.

    Raises:
        UnsafeServerError: it is one.
    """
    try:
        if not facts.get("cluster_enabled"):
            await server.execute_command("EXISTS", server.our_keys.queue, server.our_keys.log)  # also without INFO
            return
    except ResponseError as error:
        if not str(error).startswith(_OF_CLUSTERS):
            return
    raise UnsafeServerError(
        "this is Redis Cluster, which konvox-hooks does not support: no event would be delivered",
        "Use a single Redis or Valkey, or Sentinel for high availability (docs/high-availability.md)",
    )


async def refuse_missing_rights(server: Server) -> None:
    """Refuse a user that may not do all that we do.

    Raises:
        UnsafeServerError: something is forbidden; it is named, with the line that allows it.
    """
    if missing := await missing_rights(server):
        raise UnsafeServerError(missing.fault, missing.hint)


async def server_facts(server: Server) -> Mapping[str, Any]:
    """What the server says about itself (INFO); empty where it forbids that."""
    try:
        facts: Mapping[str, Any] = await server.info()
    except ResponseError:
        return {}
    return facts


def refuse_old(facts: Mapping[str, Any]) -> str:
    """Refuse a server that is too old to run our scripts. Returns what could not be verified. Pure.

    Raises:
        UnsafeServerError: it is too old.
    """
    version = str(facts.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not numbers:
        return "Redis does not say its version; allow INFO to the user of the URL, or make sure that it is 7.0 or newer"
    if numbers < OLDEST_VERSION:
        raise UnsafeServerError(
            f"Redis {version} is too old: its scripts cannot run while its memory is full",
            "Use Redis 7.0 or newer (7.2 to be asked when a write is on disk), or Valkey",
        )
    return ""


async def confirmation_for(
    server: Server, durability: Durability, facts: Mapping[str, Any] | None = None, *, replicas: int = 1
) -> Confirmation:
    """How to confirm a batch on this server.

    Args:
        server: Redis.
        durability: what a 200 promises.
        facts: what the server says about itself.
        replicas: how many must have a batch, with the durability `replicas`.

    Raises:
        UnsafeServerError: with its settings, the server cannot do it.
    """
    if durability == "memory":
        return BY_REPLY
    if durability == "replicas":
        try:
            await server.execute_command("WAIT", 0, 1)
        except ResponseError as error:
            raise UnsafeServerError(
                f"Redis cannot say when a replica has a write ({error})",
                "Allow WAIT to the user of the URL, or set KONVOX_DURABILITY=fsync",
            ) from None
        return Confirmation(("WAIT", replicas, _WAIT_MS), needed=(replicas,))
    settings = await _settings(server)
    if settings.get("appendonly") == "no" or (facts or {}).get("aof_enabled") == 0:
        raise UnsafeServerError(
            "Redis keeps no append-only file, so a crash of it would lose events that were answered with 200",
            "Set `appendonly yes` in its configuration, or KONVOX_DURABILITY=memory if you accept that",
        )
    if settings.get("appendfsync") == "always" and settings.get("no-appendfsync-on-rewrite") != "yes":
        return BY_REPLY
    try:
        BY_WAITAOF.check(await server.execute_command(*BY_WAITAOF.command or ()))
    except ResponseError as error:
        raise UnsafeServerError(
            f"Redis cannot say when a write is on disk ({error})",
            "Set `appendonly yes` and `appendfsync always`, and allow CONFIG to the user of the URL; or use Redis 7.2 "
            "or newer, or Valkey, and allow WAITAOF to that user",
        ) from None
    return BY_WAITAOF


async def refuse_eviction(server: Server, facts: Mapping[str, Any] | None = None) -> str:
    """Refuse a server that evicts keys when its memory is full: pending events would disappear without a trace.

    Args:
        server: Redis.
        facts: what the server says about itself; used where CONFIG is forbidden.

    Returns:
        What could not be verified; empty if nothing.

    Raises:
        UnsafeServerError: the server's `maxmemory-policy` is not `noeviction`, and it has a `maxmemory`.
    """
    settings, facts = await _settings(server), facts or {}
    policy = settings.get("maxmemory-policy") or facts.get("maxmemory_policy")
    most_bytes = settings.get("maxmemory") or str(facts.get("maxmemory", ""))
    if policy is None:
        return "Redis does not say whether it evicts keys; make sure of `maxmemory-policy noeviction`"
    if policy != "noeviction" and most_bytes != "0":
        raise UnsafeServerError(
            f"Redis is set to evict keys (`maxmemory-policy {policy}`), so events would disappear when it is full",
            "Set `maxmemory-policy noeviction`, or KONVOX_ALLOW_EVICTION=true if you accept that",
        )
    return ""


async def try_write(server: Server) -> None:
    """Send a write that changes nothing, because a server that answers a PING may still refuse writes.

    Raises:
        ResponseError: it refuses writes (full, cannot save, too few replicas); or one of the other `OUTAGES`.
    """
    await server.zadd(server.our_keys.queue, {"": 0}, xx=True)


async def _settings(server: Server) -> Mapping[str, str]:
    """The settings that matter here; empty where the server forbids CONFIG, as some hosted servers do."""
    try:
        answer = await server.execute_command("CONFIG", "GET", "*append*", "maxmemory*")
    except ResponseError:
        return {}
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
