"""What users import: `konvox_hooks`, `konvox_hooks.events`, `konvox_hooks.testing`, and the older names of the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

import handlers
import konvox.events
import konvox_hooks
import konvox_hooks.events
import konvox_hooks.testing
from handlers import testkit


def test_the_names_are_those_of_handlers() -> None:
    """A public name leads to the same object in `konvox_hooks` and in `handlers`."""
    assert set(konvox_hooks.__all__) == set(handlers.__all__)
    assert all(getattr(konvox_hooks, name) is getattr(handlers, name) for name in konvox_hooks.__all__)


def test_every_public_name_of_the_events_is_there() -> None:
    """A model that is added to `konvox.events` is public, and is exported under the public name too.

    So are the two types that the models are made of, and that handlers may meet.
    """
    own = {
        name
        for name, value in vars(konvox.events).items()
        if not name.startswith("_") and (getattr(value, "__module__", "konvox.events") == "konvox.events")
    }
    assert own - {"annotations"} | {"UnknownValue", "WireModel"} == set(konvox_hooks.events.__all__)
    assert all(
        getattr(konvox_hooks.events, name) is getattr(konvox.events, name) for name in konvox_hooks.events.__all__
    )


def test_the_test_kit_is_there() -> None:
    """What the test kit defines is exported under the public name, and is the same."""
    own = {name for name, value in vars(testkit).items() if getattr(value, "__module__", "") == "handlers.testkit"}
    public = {name for name in own if not name.startswith("_") and name != "E"} | {
        "SAMPLE_TIMESTAMP"
    }  # E: a type variable
    assert public == set(konvox_hooks.testing.__all__)
    assert all(getattr(konvox_hooks.testing, name) is getattr(testkit, name) for name in public)


def test_other_names_are_no_attributes() -> None:
    """A name that is not public is an AttributeError, or an ImportError, that names it."""
    with pytest.raises(AttributeError, match="no attribute 'On'"):
        _ = konvox_hooks.On  # type: ignore[attr-defined]  # the slip
    with pytest.raises(ImportError, match="cannot import name 'On'"):
        exec("from konvox_hooks import On")


@pytest.mark.parametrize(
    ("statement", "never"),
    [
        ("import konvox_hooks", {"aiohttp", "arq", "redis", "pydantic", "structlog", "handlers", "konvox", "click"}),
        ("from konvox_hooks import Context, Drop, Retry, on", {"aiohttp", "arq", "redis", "uvloop", "click", "broker"}),
        ("import konvox_hooks.events", {"aiohttp", "arq", "redis", "uvloop", "click", "handlers"}),
        ("import konvox_hooks.testing", {"aiohttp", "arq", "redis", "uvloop", "click", "broker", "worker"}),
    ],
)
def test_it_costs_no_server(statement: str, never: set[str]) -> None:
    """An import of a public name does not load a web server, a queue or a Redis client."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in done.stdout.split()} & never == set()
