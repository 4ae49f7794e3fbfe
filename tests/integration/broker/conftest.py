"""A Valkey of a test's own, for whoever wants to break one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.valkey import ValkeyServer


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey that no other test uses."""
    with ValkeyServer(tmp_path) as server:
        yield server
