"""Ours: `konvox-hooks receiver`, the real process, with its admin listener, access log and durable ack."""

from __future__ import annotations

from collections.abc import Mapping

from arq.connections import ArqRedis

from benchmarks.processes import python
from benchmarks.receive.contender import Receiver
from benchmarks.workload import SECRET, SIGNATURE_HEADER
from broker.ledger import read_ledger


def environment(port: int, store_url: str) -> Mapping[str, str]:
    """A signature, durable answers, and otherwise the defaults."""
    return {
        "KONVOX_REDIS_URL": store_url,
        "KONVOX_SIGNATURE": "hmac-sha256",
        "KONVOX_SIGNATURE_HEADER": SIGNATURE_HEADER,
        "KONVOX_SIGNING_SECRETS": SECRET,
        "KONVOX_DURABILITY": "fsync",
        "KONVOX_PORT": str(port),
        "KONVOX_ADMIN_PORT": "0",
        "KONVOX_LOG_FORMAT": "json",
    }


async def _stored(server: ArqRedis) -> int:
    return (await read_ledger(server)).accepted


CONTENDER = Receiver(
    "konvox-hooks receiver",
    python("konvox_hooks", "receiver"),
    environment,
    _stored,
    note="verify, parse, dedupe, log, queue, durable",
)

TWO = Receiver(
    "konvox-hooks receiver, 2 processes",
    python("konvox_hooks", "receiver", "--processes", "2"),
    environment,
    _stored,
    note="the same, `--processes 2`",
)
