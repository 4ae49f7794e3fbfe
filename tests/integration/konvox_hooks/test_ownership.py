"""A store remembers whom it belongs to: another installation is refused, and rotation and roles are not."""

from __future__ import annotations

import pytest

from broker.errors import UnsafeServerError
from broker.ownership import adopt, refuse_foreign
from tests.support.store import KEYS, RedisClient

TOKEN = "token a-token-of-production-012345"
OTHER = ["token a-token-of-staging-0123456", "company clstaging"]


async def test_another_installation_is_refused(server: RedisClient) -> None:
    """The first to come owns the store; an installation that shares nothing with it is refused with the ways out."""
    await refuse_foreign(server, [TOKEN, "company clprod"])
    with pytest.raises(UnsafeServerError) as refused:
        await refuse_foreign(server, OTHER)
    assert refused.value.exit_code == 2
    assert all(way in refused.value.hint for way in ("KONVOX_NAMESPACE", "KONVOX_REDIS_URL", "adopt"))
    await refuse_foreign(server, [TOKEN])


async def test_rotation_and_growth_go_on(server: RedisClient) -> None:
    """A token may be rotated and an account added, one after the other; then the first token is not needed."""
    await refuse_foreign(server, [TOKEN])
    await refuse_foreign(server, ["token the-next-token-0123456789", TOKEN])
    await refuse_foreign(server, ["token the-next-token-0123456789", "company clnew"])
    await refuse_foreign(server, ["company clnew"])


async def test_a_process_that_knows_nothing_is_not_asked(server: RedisClient) -> None:
    """A worker has no tokens: it neither owns a store nor is refused."""
    await refuse_foreign(server, [])
    assert await server.exists(KEYS.owner) == 0
    await refuse_foreign(server, [TOKEN])
    await refuse_foreign(server, [])


async def test_a_command_that_looks_changes_nothing(server: RedisClient) -> None:
    """Looking at a store of nobody does not make it the looker's."""
    await refuse_foreign(server, OTHER, note=False)
    await refuse_foreign(server, [TOKEN])
    with pytest.raises(UnsafeServerError):
        await refuse_foreign(server, OTHER, note=False)


async def test_a_store_is_handed_over(server: RedisClient) -> None:
    """After `adopt` the store is the new installation's alone."""
    await refuse_foreign(server, [TOKEN])
    await adopt(server, OTHER)
    await refuse_foreign(server, OTHER[:1])
    with pytest.raises(UnsafeServerError):
        await refuse_foreign(server, [TOKEN])


async def test_no_token_stands_in_the_store(server: RedisClient) -> None:
    """The marks are salted: two stores have none in common, and no token is in any."""
    await refuse_foreign(server, [TOKEN])
    first = await server.hgetall(KEYS.owner)
    await server.delete(KEYS.owner)
    await refuse_foreign(server, [TOKEN])
    second = await server.hgetall(KEYS.owner)
    assert set(first) & set(second) == {b"salt"}
    assert b"token" not in b"".join([*first, *first.values()])


@pytest.mark.parametrize("junk", ["string", "field"])
async def test_junk_in_its_place_refuses_nobody(server: RedisClient, junk: str) -> None:
    """What somebody else has written there is nobody's mark."""
    if junk == "string":
        await server.set(KEYS.owner, b"\xff")
    else:
        await server.hset(KEYS.owner, b"\xff", b"\xff")
    await refuse_foreign(server, [TOKEN], note=False)
    await refuse_foreign(server, [TOKEN])
    with pytest.raises(UnsafeServerError):
        await refuse_foreign(server, OTHER)
