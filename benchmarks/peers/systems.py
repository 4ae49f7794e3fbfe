"""All systems that are measured, ours and our peers': how each is started, and how its events are counted."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness import product
from benchmarks.harness.processes import Command, python
from benchmarks.harness.system import Role, System, length
from benchmarks.harness.workload import PATH, SECRET, SIGNATURE_HEADER
from benchmarks.peers.install import NODE_MODULES, python_of

OURS = System(
    commands={"receiver": python(product.CLI_MODULE, "receiver"), "worker": python(product.CLI_MODULE, "worker")},
    environment=product.environment,
    concurrency=product.CONCURRENCY,
    stored=product.accepted,
    left=product.queued,
    settled=product.delivered,
    worker_ready=product.WORKER_STARTED,
)
OURS_TWICE = replace(OURS, commands={role: (*command, "--processes", "2") for role, command in OURS.commands.items()})


def _environment(store_url: str, port: int) -> Mapping[str, str]:
    """What the programs of all peers are given. Those in Python take the constants from `workload`."""
    return {
        "STORE_URL": store_url,
        "PORT": str(port),
        "NODE_PATH": str(NODE_MODULES),
        "NODE_ENV": "production",
        "SECRET": SECRET,
        "SIGNATURE_HEADER": SIGNATURE_HEADER,
        "EVENT_PATH": PATH,
        "CONCURRENCY": "100",
    }


_peer = partial(System, environment=_environment)


def _roles(command: Command) -> dict[Role, Command]:
    return {"receiver": (*command, "receive"), "worker": (*command, "work"), "filler": (*command, "fill")}


def _app(peer: str, interpreter: str = "") -> Command:
    """The program of a peer, in the peer's own Python unless another one is given."""
    return (interpreter or python_of(peer), "-m", f"benchmarks.peers.{peer}_app")


async def _arq_settled(client: product.Client) -> int:
    """The results that arq keeps for an hour."""
    return len(await product.ask(client, "KEYS", "arq:result:*"))


async def _taskiq_left(client: product.Client) -> int:
    """What of the stream is not delivered to a worker, or not acknowledged by it."""
    [group] = await product.ask(client, "XINFO GROUPS", "taskiq")
    return int(group["lag"] or 0) + int(group["pending"])


AIOHTTP = _peer(commands=_roles(_app("aiohttp", sys.executable)))

_ARQ = _app("arq", sys.executable)
ARQ = _peer(
    commands=_roles(_ARQ),
    concurrency=10,
    stored=length(("ZCARD", "arq:queue")),
    left=length(("ZCARD", "arq:queue")),
    settled=_arq_settled,
)
ARQ_TUNED = replace(ARQ, commands={**ARQ.commands, "worker": (*_ARQ, "work", "tuned")}, concurrency=100)

_BULLMQ = ("node", str(Path(__file__).parent / "bullmq.cjs"))
BULLMQ = _peer(
    commands=_roles(_BULLMQ),
    stored=length(("LLEN", "bull:events:wait")),
    left=length(("LLEN", "bull:events:wait"), ("LLEN", "bull:events:active")),
    settled=length(("ZCARD", "bull:events:completed")),
    peer="node",
)

_DRAMATIQ = (python_of("dramatiq"), "-m", "dramatiq", "benchmarks.peers.dramatiq_app")
DRAMATIQ = _peer(
    commands={
        "worker": (*_DRAMATIQ, "--processes", "1", "--threads", "8"),
        "filler": (*_app("dramatiq"), "fill"),
    },
    concurrency=8,  # its default; more are slower here
    left=length(("HLEN", "dramatiq:default.msgs"), ("HLEN", "dramatiq:default.DQ.msgs")),
    peer="dramatiq",
)

_TASKIQ = (python_of("taskiq"), "-m", "taskiq", "worker", "benchmarks.peers.taskiq_app:broker")
TASKIQ = _peer(
    commands={
        "worker": (*_TASKIQ, "--workers", "1", "--max-async-tasks", "100", "--log-level", "WARNING"),
        "filler": (*_app("taskiq"), "fill"),
    },
    left=_taskiq_left,
    peer="taskiq",
)
SAQ = _peer(commands=_roles(_app("saq")), peer="saq")
STREAQ = _peer(commands=_roles(_app("streaq")), peer="streaq")
