"""The rooms import downwards only, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
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
FLOORS = {
    "konvox": [
        {"backoff", "errors", "inferred"},
        {"envelope", "signatures", "urls"},
        {"events", "schemes"},
        {"resources"},
        {"api"},
        {"client"},
        {"sandbox"},
    ],
    "broker": [
        {"errors", "keys"},
        {"private_files"},
        {"redis"},
        {"ids"},
        {"records"},
        {"admission", "deliveries", "dead_letters", "queue", "ledger"},
        {"audit", "event_log", "safe_admission"},
    ],
    "worker": [{"errors", "config"}, {"running"}, {"leasing"}, {"arq_function", "runner"}, {"worker"}],
    "receiver": [
        {"paths", "peers", "responses", "counters"},
        {"errors", "challenge"},
        {"spool", "verification", "access_log"},
        {"failover", "group_commit"},
        {"app", "connection"},
        {"listener"},
    ],
    "konvox_hooks": [
        {"errors", "terminal", "process"},
        {"shadowing", "config"},
        {"history", "cli"},
        {"registration"},
        {"demo", "doctor"},
        {"service", "commands"},
    ],
}
"""The inner rooms, the lowest first. Those of one floor import none of their neighbours."""

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


def inner_room(module: Path) -> str:
    """The room of a package that a module stands in: its folder, or the module itself."""
    return module.relative_to(PROJECT).parts[1].removesuffix(".py")


def inner_rooms_imported(source: str, *, package: str) -> set[str]:
    """The rooms of the same package that a module names in an import."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == package:
            names.update(f"{package}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize("package", FLOORS)
def test_an_inner_room_imports_only_from_below(package: str) -> None:
    """Within a package, too, a room imports none that stands beside it or above it."""
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS[package]) for room in rooms}
    upwards = {
        str(path.relative_to(PROJECT)): sorted(wrong)
        for path in sorted((PROJECT / package).rglob("*.py"))
        if (own := inner_room(path)) in floor_of
        and (
            wrong := {
                room
                for room in inner_rooms_imported(path.read_text(encoding="utf-8"), package=package) - {own}
                if floor_of.get(room, -1) >= floor_of[own]
            }
        )
    }
    assert upwards == {}


def modules_imported(path: Path) -> set[Path]:
    """The modules of ours that a module names in an import that runs when it is imported."""
    found: set[Path] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        folder = PROJECT / node.module.replace(".", "/")
        for name in (alias.name for alias in node.names):
            places = (
                folder / f"{name}.py",
                folder / name / "__init__.py",
                folder.with_suffix(".py"),
                folder / "__init__.py",
            )
            found.update([file for file in places if file.is_file()][:1])
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The imports of all modules can be put in an order, from the lowest to the highest."""
    modules = [path for package in ALLOWED for path in (PROJECT / package).rglob("*.py")]
    order = TopologicalSorter({path: modules_imported(path) - {path} for path in modules})
    assert len(list(order.static_order())) >= len(modules)


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
