"""What tests of the worker share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.valkey import ValkeyServer


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey that no other test uses, to be broken."""
    with ValkeyServer(tmp_path) as server:
        yield server
