"""What was lost, doubled or forged. Pure: ids in, a count out, by the definitions of the matrix."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the fault of an iteration excuses.

    Attributes:
        duplicates: the most that were in flight at the fault.
        runs: how often events are meant to run, where that is not once.
        refusals: whether a delivery may go without its 200 at first; it is then repeated, as Konvox would.
    """

    duplicates: int = 0
    runs: Mapping[str, int] = field(default_factory=dict)
    refusals: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where events were found once everything had settled.

    Attributes:
        runs: how often each event took effect; an event that never did is not among them.
        dead: those of dead letters.
        queued: those in the queue.
        spooled: those in spools.
    """

    runs: Mapping[str, int]
    dead: Collection[str] = ()
    queued: Collection[str] = ()
    spooled: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """What came of one iteration.

    Attributes:
        acked: how many events were answered with 200.
        effects: how many of the events that were sent took effect.
        loss: the ids that were acked and are nowhere.
        duplicates: how many runs there were beyond those meant.
        forged: the ids that took effect without having been sent by Konvox.
    """

    acked: int
    effects: int
    loss: frozenset[str]
    duplicates: int
    forged: frozenset[str]


def count(sent: Collection[str], acked: Collection[str], places: Places, allowed: Allowed) -> Count:
    """Count what came of the events of one iteration.

    Args:
        sent: the events that the client has tried to deliver.
        acked: those that were answered with 200.
        places: where events were found; effects of events that were not sent are forged.
        allowed: how often events are meant to run.
    """
    found = {*places.runs, *places.dead, *places.queued, *places.spooled}
    extra = (places.runs.get(event_id, 0) - allowed.runs.get(event_id, 1) for event_id in sent)
    return Count(
        acked=len(acked),
        effects=sum(event_id in places.runs for event_id in sent),
        loss=frozenset(acked) - found,
        duplicates=sum(runs for runs in extra if runs > 0),
        forged=frozenset(places.runs) - frozenset(sent),
    )


def faults_of(counted: Count, allowed: Allowed) -> list[str]:
    """What is wrong with a count, in words; nothing if all is well."""
    faults = []
    if counted.loss:
        faults.append(f"lost {_some(counted.loss)}")
    if counted.duplicates > allowed.duplicates:
        faults.append(f"{counted.duplicates} runs too many, and {allowed.duplicates} were in flight")
    if counted.forged:
        faults.append(f"forged {_some(counted.forged)}")
    return faults


def _some(ids: Collection[str]) -> str:
    shown = sorted(ids)[:5]
    return f"{len(ids)}: {', '.join(shown)}{' …' if len(ids) > len(shown) else ''}"
