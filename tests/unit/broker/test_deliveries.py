"""The bookkeeping of a delivery: which state follows from what Redis holds about it."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from broker import deliveries, keys
from broker.deliveries import Delivery, State
from tests.support.events import job_of

RETRYING = b'{"state": "retrying", "attempts": 2}'
DONE = b'{"state": "done", "attempts": 1}'
SHARED = b'{"g": {"state": "done", "attempts": 1}}'
JOB = job_of(1)

LUA = "\n".join(script.read_text() for script in (files("broker") / "lua").iterdir())


def delivery(fields: dict[str, bytes], *, queued: bool = False, shared: bytes | None = None) -> Delivery:
    """What Redis holds about a delivery."""
    return Delivery(JOB, queued, shared, fields)


@pytest.mark.parametrize(
    ("held", "state"),
    [
        (delivery({}, queued=True), "pending"),
        (delivery({}, shared=SHARED), "delivered"),
        (delivery({}, queued=True, shared=SHARED), "pending"),
        (delivery({"h": RETRYING}), "pending"),
        (delivery({"h": RETRYING}, shared=SHARED), "pending"),
        (delivery({"h": DONE}), "delivered"),
        (delivery({"h": DONE, ".open": b"0"}), "delivered"),
        (delivery({"h": RETRYING, ".open": b"2"}), "pending"),
        (delivery({"h": DONE, ".open": b"0", ".dead": b"1"}), "dead"),
        (delivery({"h": RETRYING, ".open": b"1", ".dead": b"1"}), "pending"),
        (delivery({"h": DONE, ".open": b"0", ".dead": b"0", ".dropped": b"1"}), "dropped"),
        (delivery({"h": DONE, ".open": b"0", ".dead": b"1", ".dropped": b"1"}), "dead"),
        (delivery({"h": DONE, ".open": b"1", ".dead": b"0", ".dropped": b"1"}), "pending"),
    ],
)
def test_a_state_follows_from_the_counts(held: Delivery, state: State) -> None:
    """Open jobs make a delivery pending, then dead letters make it dead, and then a drop makes it dropped."""
    assert held.state == state


def test_outcomes_of_its_own_replace_the_shared_ones() -> None:
    """The shared outcomes are shown only if nothing came after them: neither an outcome nor a queued job."""
    assert list(delivery({}, shared=SHARED).outcomes) == ["g"]
    assert list(delivery({"h": DONE, ".open": b"1"}, shared=SHARED).outcomes) == ["h"]
    assert delivery({}, queued=True, shared=SHARED).outcomes == {}


def test_only_what_is_nowhere_leaves_no_trace() -> None:
    """A delivery that is neither queued nor settled nor written down has left no trace."""
    assert delivery({}).leaves_no_trace
    for held in (delivery({}, queued=True), delivery({}, shared=SHARED), delivery({".open": b"0"})):
        assert not held.leaves_no_trace


def test_further_jobs_are_the_next_attempt_and_the_first() -> None:
    """A handler's queued job is its next attempt, or its first after an operator has retried a dead letter."""
    held = delivery({"h": RETRYING, "g": b'{"state": "dead"}', ".open": b"2"})
    assert held.further_job_ids == [f"{JOB.id}/h#1", f"{JOB.id}/h#3", f"{JOB.id}/g#1"]


def test_the_scripts_spell_the_fields_of_a_delivery_as_python_does() -> None:
    """Each dotted field in a Lua script is one that this module knows, and the other way round."""
    assert set(re.findall(r"'(\.\w+)'", LUA)) == {deliveries.OPEN, deliveries.DEAD, deliveries.DROPPED}


def test_the_scripts_spell_the_fields_of_the_ledger_as_python_does() -> None:
    """Each count in a Lua script is one that `broker.keys` knows, and the other way round."""
    lines = [line for line in LUA.splitlines() if re.search(r"ledger, '|\bcount\(.*'", line)]
    spelled = {name for line in lines for name in re.findall(r"'([a-z]+)'", line)}
    assert spelled == {value for name, value in vars(keys).items() if name.startswith("LEDGER_")}


def test_the_scripts_spell_the_field_of_the_log_as_python_does() -> None:
    """The one field of an entry of the log has the same name in Lua and in Python."""
    assert re.findall(r"'XADD', log, '\*', '(\w+)'", LUA) == [keys.LOG_JOB.decode()]
