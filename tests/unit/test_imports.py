"""The rooms import downwards only, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

ALLOWED = {
    "konvox": set(),
    "broker": {"konvox"},
    "handlers": {"konvox"},
    "worker": {"broker", "handlers", "konvox"},
    "receiver": {"broker", "konvox"},
    "konvox_hooks": {"receiver", "worker", "broker", "handlers", "konvox"},
}
HEAVY = {"aiohttp", "arq", "orjson", "pydantic", "pydantic_settings", "redis", "rich", "structlog", "tenacity"}


def rooms_imported(source: str, *, room: str) -> set[str]:
    """The other rooms that a module names in an import, those for type checkers and inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return (found & ALLOWED.keys()) - {room}


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_below(room: str) -> None:
    """No module of a room imports a room that does not stand below it."""
    modules = sorted((PROJECT / room).rglob("*.py"))
    upwards = {
        str(path.relative_to(PROJECT)): sorted(above)
        for path in modules
        if (above := rooms_imported(path.read_text(encoding="utf-8"), room=room) - ALLOWED[room])
    }
    assert modules
    assert upwards == {}


def test_the_check_sees_every_kind_of_import() -> None:
    """Plain, dotted, conditional and local imports are all found."""
    source = """
import worker.app
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from receiver.app import App
def later():
    from konvox_hooks import cli
from konvox import events
from . import worker_like
"""
    assert rooms_imported(source, room="konvox") == {"worker", "receiver", "konvox_hooks"}


def test_help_imports_nothing_heavy() -> None:
    """`konvox-hooks --help` answers without aiohttp, arq, pydantic, redis and their like."""
    script = """
import sys
from konvox_hooks.cli import run
assert run(["--help"]) == 0
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "konvox_hooks" in loaded
    assert loaded & (HEAVY | ALLOWED.keys()) == {"konvox_hooks"}
