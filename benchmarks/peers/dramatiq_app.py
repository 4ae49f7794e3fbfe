"""Dramatiq, with an actor that validates the event. Its own command line is the worker; `fill`."""

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from konvox.events import ContactReplied

dramatiq.set_broker(RedisBroker(url=os.environ["STORE_URL"]))


def deliver(body: str) -> None:
    """Do nothing with a typed event."""
    ContactReplied.model_validate_json(body)


actor = dramatiq.actor(deliver)

if __name__ == "__main__":
    for line in sys.stdin:
        actor.send(line)
