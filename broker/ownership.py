"""Whom a store belongs to: two installations must not share one by mistake, or each runs events of the other.

The store remembers a salted mark of each thing by which an installation is known: its URL tokens, signing secrets and
companies. Who has one of them belongs to it, and adds what else it has. So a token may be rotated, an account
added, and a worker may know fewer of them than a receiver, or none. Of the marks nobody can tell the tokens: each takes
a deliberately slow hash.

Called when a role starts and after each outage (`broker.safe_admission`), by the commands that open the store, by
`konvox-hooks doctor`, and by `konvox-hooks adopt`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from functools import lru_cache

from broker.errors import UnsafeServerError
from broker.redis.commands import Server
from broker.redis.scripts import Script
from broker.untrusted import or_empty

_OWN: Script[int] = Script("own")
_SALT = "salt"
_SALT_BYTES = 16
_MARK_BYTES = 16


async def refuse_foreign(server: Server, known_by: Collection[str], *, note: bool = True) -> None:
    """Refuse a store that belongs to another installation.

    Args:
        server: Redis.
        known_by: by what this installation is known; a process that knows nothing of that belongs to any store.
        note: whether to add what the store does not know yet; a store of nobody then becomes this installation's.

    Raises:
        UnsafeServerError: it belongs to another one.
    """
    if known_by and not await _own(server, known_by, mode="note" if note else "look"):
        raise UnsafeServerError(
            f"the store (namespace {server.our_keys.namespace}) belongs to another installation of konvox-hooks: it "
            "knows none of this one's tokens, signing secrets and companies",
            "Set KONVOX_NAMESPACE to a name of your own, or KONVOX_REDIS_URL to another database; if it is the same "
            "installation with other tokens, `konvox-hooks adopt` says so to the store",
        )


async def adopt(server: Server, known_by: Collection[str]) -> None:
    """Make the store this installation's, also if it was another's."""
    await _own(server, known_by, mode="adopt")


async def _own(server: Server, known_by: Collection[str], *, mode: str) -> bool:
    key = server.our_keys.owner
    fresh = secrets.token_hex(_SALT_BYTES)
    salt = await or_empty(server.hget(key, _SALT), None)
    marks = [_mark(salt.decode("latin-1") if salt else fresh, each) for each in sorted(known_by)]
    answer = await _OWN.run(server, [key], [mode, salt or fresh, *marks])
    # Somebody else's salt came in between, as at the first start of two processes: look again.
    return bool(answer) if answer >= 0 else await _own(server, known_by, mode=mode)


@lru_cache(maxsize=1024)  # asked again after each outage
def _mark(salt: str, known_by: str) -> str:
    return hashlib.scrypt(known_by.encode(), salt=salt.encode(), n=2**10, r=8, p=1, dklen=_MARK_BYTES).hex()
