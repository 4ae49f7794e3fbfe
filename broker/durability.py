"""What must have happened before a 200 may be believed, and whether the server is able to do it.

Asked once at start by the receiver (through the console), and for each batch by the admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import ResponseError

from broker.connection import COMMAND_TIMEOUT_SECONDS, Server
from broker.errors import BrokerUnavailableError, UnsafeServerError

Durability = Literal["fsync", "replicas", "memory"]

_WAIT_MS = round(COMMAND_TIMEOUT_SECONDS * 1000 * 0.75)
"""Shorter than the time-out of the connection, so that the server's own answer comes first."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How a batch is known to be durable.

    Attributes:
        command: what is sent behind the batch, or None where the batch's own answer says it all.
        needed: the least that each number of the command's answer must be.
    """

    command: tuple[str | int, ...] | None
    needed: tuple[int, ...] = ()

    def check(self, answer: Any) -> None:
        """Raise BrokerUnavailableError unless the answer says that the batch is durable."""
        numbers = answer if isinstance(answer, list) else [answer]
        if any(int(number) < least for number, least in zip(numbers, self.needed, strict=False)):
            raise BrokerUnavailableError("the write was not confirmed as durable in time")


BY_REPLY = Confirmation(None)
"""The server answers a write only once it is as durable as asked (`appendfsync always`), or nothing more is asked."""

BY_WAITAOF = Confirmation(("WAITAOF", 1, 0, _WAIT_MS), needed=(1,))
"""The server is asked to wait until its own append-only file is on disk (Redis 7.2 or Valkey)."""


async def confirmation_for(server: Server, durability: Durability, *, replicas: int = 1) -> Confirmation:
    """How to confirm a batch on this server.

    Raises:
        UnsafeServerError: the server, as it is set, cannot give what is asked.
    """
    if durability == "memory":
        return BY_REPLY
    if durability == "replicas":
        return Confirmation(("WAIT", replicas, _WAIT_MS), needed=(replicas,))
    settings = await _settings(server)
    if settings.get("appendonly") == "no":
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
            "Set `appendonly yes` and `appendfsync always`, or use Redis 7.2 or newer, or Valkey",
        ) from None
    return BY_WAITAOF


async def refuse_eviction(server: Server) -> None:
    """Refuse a server that throws keys away when memory runs out: pending events would silently disappear.

    Raises:
        UnsafeServerError: the server's `maxmemory-policy` is not `noeviction`, and it has a `maxmemory`.
    """
    settings = await _settings(server)
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction" and settings.get("maxmemory", "0") != "0":
        raise UnsafeServerError(
            f"Redis is set to evict keys (`maxmemory-policy {policy}`), so events would disappear when it is full",
            "Set `maxmemory-policy noeviction`",
        )


async def _settings(server: Server) -> Mapping[str, str]:
    """The settings that matter here; empty where the server forbids CONFIG, as some hosted ones do."""
    try:
        answer = await server.execute_command("CONFIG", "GET", "*append*", "maxmemory*")
    except ResponseError:
        return {}
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
