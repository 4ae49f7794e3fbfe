"""Every example of the pages: Python runs, commands exist with their options, TOML and YAML are valid.

The commands of the README, of docs/sandbox.md and of docs/one-server.md also run: see `tests/e2e`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

import konvox.client
import konvox_hooks
import konvox_hooks.testing
from handlers import testkit
from handlers.decorator import mark_of
from handlers.errors import Drop
from konvox.events import EVENT_MODELS
from konvox_hooks.cli import program
from konvox_hooks.testing import make_context, make_event
from tests.support import readme
from tests.unit.test_docs import PAGES, PROJECT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_IN_TEXT = re.compile(r"`(konvox-hooks [^`]+)`")
_MODULES = (konvox_hooks, konvox_hooks.testing, konvox.client, testkit)

Block = tuple[str, str, str]


def blocks() -> Iterator[Block]:
    """Where each code block stands, its language, and its text; those of the docstrings too."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, block in _BLOCK.findall(text):
            yield str(page.relative_to(PROJECT)), language, block
    for module in _MODULES:
        for language, block in _BLOCK.findall(inspect.getdoc(module) or ""):
            yield module.__name__, language, block


def named(language: str) -> list[Any]:
    """The blocks of a language, for a parametrised test."""
    found = [(place, text) for place, kind, text in blocks() if kind == language]
    return [pytest.param(text, id=f"{place}-{number}") for number, (place, text) in enumerate(found)]


class _Answer:
    status = 200

    def raise_for_status(self) -> None:
        """Accept every status."""


class _Http:
    """Takes the place of `ctx.http`, and answers 200 to everything."""

    @asynccontextmanager
    async def post(self, _url: str, **_options: Any) -> Any:
        """Answer."""
        yield _Answer()


async def run_handler(function: Any) -> None:
    """Run a handler on a sample of each event that it wants."""
    mark = mark_of(function)
    assert mark is not None
    for name in EVENT_MODELS:
        if not any(re.fullmatch(pattern.replace("*", ".*"), name) for pattern in mark.patterns):
            continue
        event = make_event(name)
        if mark.when is not None and not mark.when(event):
            continue
        try:
            outcome = function(event, make_context(http=_Http()))
            if inspect.isawaitable(outcome):
                await outcome
        except Drop:
            pass


@pytest.fixture
def example_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the examples of tests import: the handlers of the README."""
    module = ModuleType("my_handlers")
    exec(readme.file("my_handlers.py"), module.__dict__)
    monkeypatch.setitem(sys.modules, "my_handlers", module)


@pytest.mark.usefixtures("example_modules")
@pytest.mark.parametrize("text", named("python"))
def test_every_python_example_runs(text: str) -> None:
    """Each example is complete, its handlers run on sample events, and its tests pass."""
    if "async with KonvoxClient(" in text:  # a part of a program: it must be valid, and its calls must exist
        compile(text, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        client = konvox.client.KonvoxClient("https://konvox.example", "kvx_live_x")
        for resource, call in re.findall(r"konvox\.(\w+)\.(\w+)\(", text):
            assert callable(getattr(getattr(client, resource), call))
        return
    namespace: dict[str, Any] = {"__name__": "example"}
    if "tell_sales" in text and "import tell_sales" not in text and "def tell_sales" not in text:
        namespace |= _as_in_the_text_around()
    exec(compile(text, "example", "exec"), namespace)
    functions = [value for value in namespace.values() if inspect.isfunction(value)]
    ran = 0
    for function in functions:
        if mark_of(function) is not None:
            asyncio.run(run_handler(function))
            ran += 1
        elif function.__name__.startswith("test_"):
            asyncio.run(function())
            ran += 1
    assert ran > 0


def _as_in_the_text_around() -> dict[str, Any]:
    """What an example in a docstring takes for granted: a handler that logs a reply, and the names of the kit."""

    async def tell_sales(_event: Any, ctx: Any) -> None:
        """Log the reply."""
        ctx.log.info("a reply came")

    return {**vars(konvox_hooks.testing), "ContactReplied": EVENT_MODELS["contact.replied"], "tell_sales": tell_sales}


def command_lines() -> list[Any]:
    """Each command of ours in the pages, in blocks and in the text."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line
            for language, block in _BLOCK.findall(text)
            if language in {"sh", "console"}
            for line in block.splitlines()
        ]
        lines += [" ".join(match.split()) for match in _IN_TEXT.findall(_BLOCK.sub("", text))]
        for line in lines:
            for command in re.findall(r"(?:^|\$ |\$\(|/bin/|receiver )(konvox-hooks [a-z][^|>#<&;$()`]*)", line):
                found.setdefault(command.strip().rstrip('"'), str(page.relative_to(PROJECT)))
    return [pytest.param(line, id=f"{page}: {line}") for line, page in found.items()]


@pytest.mark.parametrize("line", command_lines())
def test_every_command_of_the_pages_exists(line: str) -> None:
    """Each command, subcommand and option that a page names exists."""
    command: click.Command = program
    words = shlex.split(line.replace("…", ""))[1:]
    context = click.Context(command)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h", "--version"}
    assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in options] == []


@pytest.mark.parametrize("text", named("toml"))
def test_toml_examples_are_valid(text: str) -> None:
    """Each example in TOML can be read."""
    assert tomllib.loads(text)


@pytest.mark.parametrize("text", named("yaml"))
def test_yaml_examples_are_valid(text: str) -> None:
    """Each example in YAML can be read."""
    assert yaml.safe_load(text)


def test_examples_are_found() -> None:
    """The pages have examples in Python, commands, TOML and YAML: the checks above look at some."""
    assert len(named("python")) >= 7
    assert len(named("toml")) >= 1
    assert len(named("yaml")) >= 1
    assert len(command_lines()) > 30
