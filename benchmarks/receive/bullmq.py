"""Node's best: Fastify in front of BullMQ, one `queue.add` for each request."""

from __future__ import annotations

from collections.abc import Mapping

from arq.connections import ArqRedis

from benchmarks.peers.install import NODE_MODULES, node_program
from benchmarks.receive import contender
from benchmarks.workload import PATH, SECRET, SIGNATURE_HEADER

PEER = "node"
WAITING = "bull:events:wait"
COMPLETED = "bull:events:completed"


def environment(port: int, store_url: str) -> Mapping[str, str]:
    """Where to listen, and where to queue; and what a program in another language cannot import."""
    return {
        **contender.environment(port, store_url),
        "NODE_PATH": str(NODE_MODULES),
        "NODE_ENV": "production",
        "SECRET": SECRET,
        "SIGNATURE_HEADER": SIGNATURE_HEADER,
        "EVENT_PATH": PATH,
    }


async def _stored(server: ArqRedis) -> int:
    return int(await server.llen(WAITING))


CONTENDER = contender.Receiver(
    "Fastify + BullMQ",
    node_program("bullmq_receive.cjs"),
    environment,
    _stored,
    note="verify, parse, one `queue.add` a request",
    target_ratio=1.1,
    peer=PEER,
)
