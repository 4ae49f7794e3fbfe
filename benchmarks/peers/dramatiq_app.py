"""Dramatiq: an actor that validates the event. `python -m benchmarks.peers.dramatiq_app` queues what is on stdin."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from konvox.events import ContactReplied

dramatiq.set_broker(RedisBroker(url=os.environ["STORE_URL"]))


@dramatiq.actor
def deliver(body: str) -> None:
    """Do nothing with a typed event."""
    ContactReplied.model_validate_json(body)


if __name__ == "__main__":
    for line in sys.stdin:
        deliver.send(line)
