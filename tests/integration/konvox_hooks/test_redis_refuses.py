"""Tests of commands on a Redis that answers and refuses writes: the message says why, and what to do."""

from __future__ import annotations

import pytest

from tests.support.console import Console
from tests.support.refusals import Refusal, cannot_save, is_full, lacks_its_master, lacks_replicas
from tests.support.valkey import ValkeyServer


@pytest.mark.parametrize(
    ("refusal", "code", "hint"),
    [
        (cannot_save, "MISCONF", "make room there"),
        (lacks_replicas, "NOREPLICAS", "`min-replicas-to-write`: start them, or lower that"),
        (lacks_its_master, "MASTERDOWN", "a replica that has lost its master"),
        (is_full, "command not allowed when used memory > 'maxmemory'", "raise its `maxmemory`"),
    ],
)
def test_a_redis_that_takes_no_writes(
    console: Console, own_valkey: ValkeyServer, refusal: Refusal, code: str, hint: str
) -> None:
    """A command that would write fails with the reason, and the doctor reports the server as a fault."""
    console.redis_url = own_valkey.url()
    console.setting("REDIS_URL", console.redis_url)
    console.receive("contact.replied")
    assert console("events", "export", "--output", "events.jsonl").exit_code == 0
    with refusal(own_valkey):
        replayed = console("replay", "events.jsonl", "--to", "queue")
        [finding] = [line for line in console("doctor", "--json").json if line["hint"] and "redis" in line["check"]]
    assert replayed.exit_code == 1
    assert code in replayed.err
    assert hint in replayed.err
    assert (finding["state"], code in finding["message"], hint in finding["hint"]) == ("fault", True, True), finding
    assert console("replay", "events.jsonl", "--to", "queue").exit_code == 0
