"""What somebody else has written to the store breaks no command: each says what it can, and names what is odd."""

from __future__ import annotations

import pytest

from tests.support.console import Console
from tests.support.store import KEYS, RedisClient

JUNK = b"\xff\xfe\x1b[2J\n{"

COMMANDS = [
    ("audit",),
    ("audit", "--json"),
    ("events", "list"),
    ("events", "list", "--json"),
    ("events", "export"),
    ("events", "show", "ID"),
    ("dead", "list"),
    ("dead", "list", "--json"),
    ("dead", "show", "ID"),
    ("dead", "show", "ID", "--json"),
    ("dead", "retry", "--all"),
    ("doctor", "--json"),
    ("replay", "ID", "--to", "queue"),
    ("dead", "drop", "--all", "--yes"),
]


async def fill_with_junk(server: RedisClient, event_id: str) -> None:
    """Junk in every key of ours that keeps its type."""
    for name in (KEYS.leases, KEYS.crashes, KEYS.ledger, KEYS.dead, KEYS.idle, KEYS.delivery_key(event_id)):
        await server.hset(name, JUNK, JUNK)
        await server.hset(name, event_id, JUNK)
    for name in (KEYS.queue, KEYS.dead_index, KEYS.suspects):
        for member in (JUNK, event_id.encode()):
            await server.execute_command("ZADD", name, "1", member)
    for field in (".open", ".dead", "a.handler"):
        await server.hset(KEYS.delivery_key(event_id), field, JUNK)
    await server.xadd(KEYS.log, {"job": JUNK})
    await server.xadd(KEYS.log, {"other": JUNK})
    await server.set(KEYS.seen_key(event_id), JUNK)


async def change_types(server: RedisClient) -> None:
    """Every single key of ours as a string."""
    keys = KEYS
    for name in (keys.queue, keys.leases, keys.crashes, keys.suspects, keys.log, keys.ledger, keys.dead, keys.idle):
        await server.set(name, JUNK)
    await server.set(keys.dead_index, JUNK)


@pytest.mark.parametrize("hostile", ["junk", "types"])
def test_every_command_survives_any_content(console: Console, hostile: str) -> None:
    """No traceback, no control character, and an exit code that says that something is odd or wrong."""
    console.plug_in("@on('*', attempts=1)\nasync def f(event, ctx):\n    raise ValueError('no')")
    first, _ = console.receive("contact.replied", "contact.replied")
    console.work()
    console.receive("contact.replied")
    if hostile == "junk":
        console.in_store(lambda server: fill_with_junk(server, first.id))
    else:
        console.in_store(change_types)
    for command in COMMANDS:
        done = console(*(first.id if part == "ID" else part for part in command))
        assert done.exit_code in {0, 1, 3}, (command, done)
        assert "\x1b" not in done.out + done.err, (command, done)
        assert "Errno" not in done.err, (command, done)


def test_the_audit_names_what_is_odd(console: Console) -> None:
    """Keys of another type, counts that are none and entries that are no job are named, and the exit code is 1."""
    console.receive("contact.replied")
    console.in_store(lambda server: server.hset(KEYS.ledger, "accepted", "many"))
    console.in_store(lambda server: server.set(KEYS.crashes, "no hash"))
    console.in_store(lambda server: server.xadd(KEYS.log, {"other": b"x"}))
    done = console("audit")
    assert done.exit_code == 1
    assert all(name in done.out for name in (f"{KEYS.ledger} accepted", KEYS.crashes, f"{KEYS.log} "))
    assert "redis content" in console("doctor").out
