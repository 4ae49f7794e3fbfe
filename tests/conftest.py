"""Fixtures for all tests: a Valkey for each test process, a database for each test, real processes."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from broker.redis.client import close
from tests.support.store import RedisClient, connect
from tests.support.valkey import ValkeyServer

_DATABASES = "5000"

# A loaded machine makes slow examples; each test has a time limit of its own (pytest-timeout).
hypothesis.settings.register_profile(
    "konvox-hooks", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# By hand, without the time limit: pytest --hypothesis-profile thorough --timeout 0 …
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("konvox-hooks"), max_examples=5_000)
hypothesis.settings.load_profile("konvox-hooks")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey of this test process, with the settings of the embedded one."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey"), databases=_DATABASES) as server:
        yield server


_next_database = itertools.count(1)


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """A key space that no other test uses."""
    return valkey.url(database=next(_next_database))


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[RedisClient]:
    """A connection to the test's key space."""
    connection = connect(redis_url)
    yield connection
    await close(connection)


@pytest.fixture
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey that no other test uses, and that the test may break."""
    with ValkeyServer(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder for an embedded server of this test."""
    return tmp_path / "data"
