"""Tests of `konvox-hooks replay`: handlers run on captured events, in this process or by workers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.records import Record
from konvox.samples import sample_body
from konvox_hooks.process.own_command import own_command
from tests.support.console import Console

PROJECT = Path(__file__).parents[3]
REPLIED, CREATED, UNSUBSCRIBED = "contact.replied", "enrollment.created", "enrollment.unsubscribed"

HANDLERS = """
from contextlib import asynccontextmanager
from konvox.events import ContactReplied


@asynccontextmanager
async def lifespan():
    print("opened")
    yield "the state"
    print("closed")


@on("contact.replied")
async def done(event: ContactReplied, ctx):
    print("effect", event.replayed, event.data.channel, ctx.attempt, ctx.state)


def crm(event):
    raise KeyError(f"no {event.id}")


@on("enrollment.created")
def broken(event, ctx):
    crm(event)


@on("enrollment.*", attempts=9)
async def later(event, ctx):
    raise Retry(after=3600)


@on("*", when=lambda event: False)
async def picky(event, ctx):
    pass


@on("enrollment.unsubscribed")
async def unwanted(event, ctx):
    raise Drop("a test contact")
"""


def capture(*event_types: str, name: str = "events.jsonl") -> list[Record]:
    """Write a file of captured events."""
    records = [Record.capture(sample_body(event_type), received_at_ms=0) for event_type in event_types]
    Path(name).write_bytes(b"".join(record.to_line() + b"\n" for record in records))
    return records


@pytest.fixture
def no_redis(console: Console) -> Console:
    """A console without a Redis, configured or in its folder."""
    console.setting("REDIS_URL", "")
    return console


def test_a_local_replay_reports_how_each_attempt_ended(no_redis: Console) -> None:
    """A local replay reports done, skipped, dropped and failed by event and handler, and exits with 1 for failures."""
    module = no_redis.plug_in(HANDLERS)
    records = capture(REPLIED, CREATED, UNSUBSCRIBED)
    replayed = no_redis("replay", "events.jsonl", "--json")
    assert replayed.exit_code == 1
    assert [(event["id"], event["type"]) for event in replayed.json["events"]] == [
        (record.id, record.type) for record in records
    ]
    outcomes = [{run["handler"]: run["outcome"] for run in event["handlers"]} for event in replayed.json["events"]]
    assert outcomes == [
        {f"{module}.done": "done", f"{module}.picky": "skipped"},
        {f"{module}.broken": "failed", f"{module}.later": "failed", f"{module}.picky": "skipped"},
        {f"{module}.later": "failed", f"{module}.picky": "skipped", f"{module}.unwanted": "dropped"},
    ]
    totals = {name: replayed.json[name] for name in ("done", "skipped", "dropped", "failed", "faulty")}
    assert totals == {"done": 1, "skipped": 3, "dropped": 1, "failed": 3, "faulty": 0}
    assert "konvox-hooks: 3 attempts failed\n" in replayed.err


def test_handlers_see_a_replay_in_their_usual_surroundings(no_redis: Console) -> None:
    """`event.replayed` is True, the model is typed, the lifespan is entered and left; prints go to stderr."""
    no_redis.plug_in(HANDLERS)
    capture(REPLIED)
    replayed = no_redis("replay", "events.jsonl")
    assert replayed.exit_code == 0
    assert "opened\neffect True email 1 the state\nclosed\n" in replayed.err
    assert "effect" not in replayed.out


def test_a_local_replay_is_readable(no_redis: Console) -> None:
    """A local replay shows each event, each attempt, errors with the user's frames only, and a summary."""
    module = no_redis.plug_in(HANDLERS)
    [record] = capture(CREATED)
    shown = no_redis("replay", "events.jsonl").out
    assert shown.startswith(f"{record.id}  enrollment.created\n  {module}.broken  failed  KeyError: ")
    assert "\n      Traceback (most recent call last):\n" in shown
    assert f'{module}.py", line ' in shown
    assert "in crm\n" in shown
    assert "/worker/" not in shown
    assert f"  {module}.later  failed  retry in 3600 s\n" in shown
    assert shown.endswith("\n1 events: 0 done, 1 skipped, 0 dropped, 2 failed\n")


def test_once_counts_within_a_replay(no_redis: Console) -> None:
    """If a file holds an event twice, `ctx.once` is first only in the first attempt."""
    source = """
@on("*")
async def effect(event, ctx):
    async with ctx.once("crm") as first:
        print(f"first={first}")
"""
    no_redis.plug_in(source)
    [record] = capture(REPLIED)
    Path("events.jsonl").write_bytes((record.to_line() + b"\n") * 2)
    replayed = no_redis("replay", "events.jsonl")
    assert "first=True\nfirst=False\n" in replayed.err
    assert replayed.out.endswith("2 events: 2 done, 0 skipped, 0 dropped, 0 failed\n")


def test_a_replay_can_be_narrowed_down(no_redis: Console) -> None:
    """A replay can be limited by type with wildcards and by handlers, and says if no chosen handler wants an event."""
    module = no_redis.plug_in(HANDLERS)
    capture(REPLIED, CREATED, UNSUBSCRIBED)
    by_type = no_redis("replay", "events.jsonl", "--type", "contact.*", "--json").json
    assert [event["type"] for event in by_type["events"]] == [REPLIED]
    names = ["--handler", f"{module}.done", "--handler", f"{module}.unwanted"]
    chosen = no_redis("replay", "events.jsonl", *names)
    assert chosen.exit_code == 0
    assert chosen.out.count("no handler wants it") == 1
    assert chosen.out.endswith("3 events: 1 done, 0 skipped, 1 dropped, 0 failed\n")


def test_a_handler_that_is_not_there_is_wrong_usage(no_redis: Console) -> None:
    """An unknown handler leads to exit code 2 and the known names, and nothing is run."""
    module = no_redis.plug_in(HANDLERS)
    capture(REPLIED)
    replayed = no_redis("replay", "events.jsonl", "--handler", f"{module}.mistyped")
    assert (replayed.exit_code, replayed.out) == (2, "")
    assert f"{module}.mistyped" in replayed.err
    assert f"{module}.unwanted" in replayed.err
    assert "effect" not in replayed.err


def test_an_event_that_does_not_fit_its_model_has_failed(no_redis: Console) -> None:
    """An event that does not fit its model is reported with the field, and the exit code is 1."""
    no_redis.plug_in(HANDLERS)
    Path("events.jsonl").write_bytes(sample_body(REPLIED, data={"contactId": [1]}))
    replayed = no_redis("replay", "events.jsonl", "--type", REPLIED)
    assert replayed.exit_code == 1
    assert "failed  contact.replied does not fit its model: data.contactId: " in replayed.out


@pytest.mark.parametrize("target", ["local", "queue"])
def test_faulty_lines_are_left_out(console: Console, target: str) -> None:
    """Faulty lines are reported with file, line and fault, the other events are replayed, and the exit code is 1."""
    console.plug_in('@on("*")\nasync def fine(event, ctx):\n    pass\n')
    Path("mixed.jsonl").write_bytes(sample_body(REPLIED) + b"\nnonsense\n" + sample_body(CREATED))
    replayed = console("replay", "mixed.jsonl", "--to", target, "--json")
    assert replayed.exit_code == 1
    assert replayed.json["faulty"] == 1
    assert replayed.json["done" if target == "local" else "queued"] == 2
    assert "konvox-hooks: mixed.jsonl:2: not JSON" in replayed.err


def test_a_replay_to_the_queue_is_past_dedupe(console: Console) -> None:
    """Workers run replayed events again in spite of the dedupe window, and the log shows both deliveries."""
    console.plug_in('@on("*")\nasync def tell(event, ctx):\n    if not event.replayed:\n        raise Drop("first")\n')
    records = capture(REPLIED, CREATED)
    assert console("events", "import", "events.jsonl").exit_code == 0
    console.work()
    for _ in range(2):
        queued = console("replay", "events.jsonl", "--to", "queue")
        assert (queued.exit_code, queued.out) == (0, "queued 2\n")
    console.work()
    events = console("events", "list", "--json").json
    assert sum(event["replayed"] for event in events) == 4
    outcomes = {(event["replayed"], outcome["state"]) for event in events for outcome in event["handlers"].values()}
    assert outcomes == {(False, "dropped"), (True, "done")}
    audit = console("audit", "--json")
    assert (audit.exit_code, audit.json["accepted"], audit.json["delivered"]) == (0, 6, 6)
    assert [line["id"] for line in map(orjson.loads, console("events", "export").out.splitlines())] == [
        record.id for record in records
    ]


def test_an_event_of_the_log_is_replayed_by_its_id(console: Console) -> None:
    """An event of the log is replayed once for all handlers, or once for each named one that wants it."""
    module = console.plug_in(HANDLERS)
    [record] = console.receive(REPLIED)
    console.work()
    assert console("replay", record.id, "--to", "queue", "--json").json == {"queued": 1, "faulty": 0}
    names = ["--handler", f"{module}.done", "--handler", f"{module}.broken"]
    assert console("replay", record.id, "--to", "queue", *names).out == "queued 1\n"
    console.work()
    replays = console("events", "show", record.id, "--json").json["replays"]
    assert sorted(sorted(replay["handlers"]) for replay in replays) == [
        [f"{module}.done"],
        [f"{module}.done", f"{module}.picky"],
    ]
    assert console("audit").exit_code == 0
    assert console("replay", record.id, "--to", "queue", "--type", "enrollment.*").out == "queued 0\n"


def test_an_id_that_is_not_in_the_log_is_a_failure(console: Console) -> None:
    """An unknown id leads to exit code 1 and names the command that lists the events."""
    replayed = console("replay", "evt_nothing", "--to", "queue")
    assert (replayed.exit_code, replayed.out) == (1, "")
    assert "events list" in replayed.err


@pytest.mark.parametrize("arguments", [["evt_x"], ["no-such-file"], ["events.jsonl", "--to", "nowhere"], []])
def test_wrong_usage_is_two(no_redis: Console, arguments: list[str]) -> None:
    """An id without `--to queue`, a missing file, an unknown target and no argument are usage errors."""
    assert no_redis("replay", *arguments).exit_code == 2


def test_a_file_that_is_named_like_an_id_is_a_file(no_redis: Console) -> None:
    """A file in the folder takes precedence over an event with the same id."""
    no_redis.plug_in(HANDLERS)
    capture(REPLIED, name="evt_saved")
    assert no_redis("replay", "evt_saved").exit_code == 0


def test_the_help_has_an_example(console: Console) -> None:
    """The example in the help works as it is."""
    assert "\n    konvox-hooks replay events.jsonl\n" in console("replay", "--help").out


def test_a_replay_as_a_process_of_its_own_reads_standard_input(no_redis: Console) -> None:
    """As a process, a replay reads events from stdin, writes results to stdout and logs to stderr."""
    module = no_redis.plug_in(
        '@on("*")\nasync def tell(event, ctx):\n    ctx.log.info("seen", replayed=event.replayed)\n'
    )
    done = subprocess.run(
        own_command("replay", "-"),
        input=sample_body(REPLIED),
        env={"PYTHONPATH": str(PROJECT), "KONVOX_HANDLERS": f"{module}.py"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[-1] == "1 events: 1 done, 0 skipped, 0 dropped, 0 failed"
    assert [line["replayed"] for line in map(orjson.loads, done.stderr.splitlines()) if line["event"] == "seen"] == [
        True
    ]


UNKNOWN_VALUES = """
from konvox_hooks import on
from konvox_hooks.events import ContactReplied, EnrollmentUnsubscribed


@on("contact.replied")
async def tell_sales(event: ContactReplied, ctx):
    print("effect", event.data.channel)


@on("enrollment.unsubscribed")
def opt_out(event, ctx):
    print("effect", event.data.contact_id, event.data.campaign_id, event.data.reason)


@on(EnrollmentUnsubscribed)
async def opt_out_typed(event: EnrollmentUnsubscribed, ctx):
    print("effect", event.data.reason)
"""


def test_values_that_no_model_knows_are_handled(no_redis: Console) -> None:
    """A new channel or reason, and a null or missing id, reach handlers with and without an annotation."""
    no_redis.plug_in(UNKNOWN_VALUES)
    data: list[tuple[str, dict[str, Any]]] = [
        (REPLIED, {"contactId": "c1", "channel": "instagram", "campaignId": "k", "enrollmentId": "e"}),
        (UNSUBSCRIBED, {"enrollmentId": "e1", "contactId": "c1", "campaignId": "k", "reason": "list_header"}),
        (UNSUBSCRIBED, {"enrollmentId": "e1", "contactId": "c2", "campaignId": None, "reason": "manual"}),
        (UNSUBSCRIBED, {"contactId": 3, "reason": None}),
    ]
    lines = [sample_body(event_type, data=fields) for event_type, fields in data]
    Path("events.jsonl").write_bytes(b"\n".join(lines))
    replayed = no_redis("replay", "events.jsonl", "--json")
    assert replayed.exit_code == 0
    assert (replayed.json["done"], replayed.json["failed"], replayed.json["faulty"]) == (7, 0, 0)
    for effect in ("instagram", "c1 k list_header", "list_header", "c2 None manual", "3 None None"):
        assert f"effect {effect}\n" in replayed.err


RENAMED = """
@on("contact.replied", name="crm.tell", was=["crm.say", "hooks.say"])
def tell(event, ctx):
    async def say():
        return "said"

    print("effect", ctx.run(say()))


@on("contact.replied")
async def forgetful(event, ctx):
    ctx.http.post("http://127.0.0.1:1/")
"""


def test_a_renamed_handler_is_replayed_by_its_former_names(no_redis: Console) -> None:
    """Once, however many of its names are given; `ctx.run` works here as in a worker."""
    no_redis.plug_in(RENAMED)
    capture("contact.replied")
    replayed = no_redis("replay", "events.jsonl", "--handler", "hooks.say", "--handler", "crm.say", "--json")
    assert replayed.exit_code == 0, replayed.err
    [event] = replayed.json["events"]
    assert [(run["handler"], run["outcome"]) for run in event["handlers"]] == [("crm.tell", "done")]
    assert "effect said" in replayed.err


def test_a_call_that_nobody_awaits_fails_here_as_well(no_redis: Console) -> None:
    """What a replay shows is what a worker would do."""
    module = no_redis.plug_in(RENAMED)
    capture("contact.replied")
    replayed = no_redis("replay", "events.jsonl", "--handler", f"{module}.forgetful", "--json")
    assert replayed.exit_code == 1
    [run] = replayed.json["events"][0]["handlers"]
    assert "ctx.http.post(…) was never awaited" in run["error"]
