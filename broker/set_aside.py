"""Set aside what stands at our keys and is not ours, so that it stops neither receiver nor worker.

Who writes to Redis can make a key of ours another type. Every command on it is refused then, which looks like an
outage and never ends. What stands there is kept under another name, for a person to look at. The scripts do the same
with the keys of single events (`call_on` in `broker/lua/prelude.lua`).

Called when a role starts and after each outage (`broker.safe_admission`), and by the worker when a script was refused.
"""

from __future__ import annotations

import time

import structlog

from broker.keys import Keys
from broker.redis.client import OUTAGES
from broker.redis.commands import Server
from broker.redis.scripts import Script
from broker.untrusted import is_content_fault, text_of

logger = structlog.get_logger("broker")

_SET_ASIDE: Script[list[list[bytes]]] = Script("set_aside", makes_room=True)


def types(keys: Keys) -> dict[str, str]:
    """The type that each of our single keys has. Where there are many keys of a kind, the scripts look at each."""
    return {
        keys.queue: "zset",
        keys.leases: "hash",
        keys.crashes: "hash",
        keys.suspects: "zset",
        keys.log: "stream",
        keys.ledger: "hash",
        keys.dead: "hash",
        keys.dead_index: "zset",
        keys.idle: "hash",
        keys.owner: "hash",
    }


async def set_aside(server: Server) -> list[str]:
    """Set aside what is not of our type. Returns the keys that it stood at."""
    ours = types(server.our_keys)
    suffix = f":aside:{time.time_ns() // 1_000_000}"
    moved = await _SET_ASIDE.run(server, list(ours), [suffix, *ours.values()])
    for key, kind, name in (map(text_of, each) for each in moved):
        logger.error(
            "key.set_aside",
            key=key,
            found=kind,
            ours=ours[key],
            kept_as=name,
            hint="find out who writes to this Redis; `konvox-hooks audit` names the events that are missing now",
        )
    return [text_of(key) for key, _, _ in moved]


async def set_aside_after(server: Server, error: BaseException) -> bool:
    """Set aside what may have caused a refusal. False if it has another cause, or nothing was found."""
    if not is_content_fault(error):
        return False
    try:
        return bool(await set_aside(server))
    except OUTAGES:
        return False


async def wrong_keys(server: Server) -> list[str]:
    """Our keys that are of another type than ours, without changing anything."""
    ours = types(server.our_keys)
    pipeline = server.pipeline(transaction=False)
    for key in ours:
        pipeline.execute_command("TYPE", key)
    kinds = map(text_of, await pipeline.execute())
    return [key for (key, kind), found in zip(ours.items(), kinds, strict=True) if found not in {kind, "none"}]
