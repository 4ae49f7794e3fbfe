"""What tests of the worker share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from broker.redis import outage
from worker import arq_function, runner, worker
from worker.leasing import claimer, renewal, settler
from worker.running import dispatcher, lifespans, threads, watchdog


@pytest.fixture(autouse=True)
def new_loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loggers that can be captured: structlog keeps one as it was configured when another test first used it."""
    before = structlog.get_config()
    structlog.reset_defaults()
    for module in (
        arq_function,
        claimer,
        dispatcher,
        lifespans,
        outage,
        renewal,
        runner,
        settler,
        threads,
        watchdog,
        worker,
    ):
        monkeypatch.setattr(module, "logger", structlog.get_logger("worker"))
    yield
    structlog.configure(**before)
