"""The page docs/reference.md, made from the docstrings: what users import, with signatures, fields and errors.

`make reference` writes it again; `tests/unit/test_reference.py` checks that it is up to date.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handlers import Context, Drop, Retry, on
from handlers.context import OnceGate
from konvox import resources
from konvox.api import calls
from konvox.client import CallRetries, KonvoxClient
from konvox_hooks import events, testing

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
_WIDTH = 118
_BUNDLED = ("handlers.log", "handlers.slack")
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")
_CLIENT_PARTS = (calls.Campaigns, calls.Contacts, calls.SenderIdentities, calls.Connections, calls.Webhooks)
_RECORDS = ("Record", "Page", "Campaign", "Contact", "SenderIdentity", "Connection", "Webhook")

_HEAD = """# Reference

What you import to write handlers, from the docstrings of the code. `make reference` writes this page.
[Writing handlers](handlers.md) says how to use it.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "## Handlers: `from konvox_hooks import …`\n"
    for target in (on, Context, OnceGate.__call__, Retry, Drop):
        yield from _described(target, "ctx.once" if target is OnceGate.__call__ else target.__name__)
    yield "## Events: `from konvox_hooks.events import …`\n"
    for name in events.__all__:
        target = getattr(events, name)
        if inspect.isclass(target) or inspect.isfunction(target):
            yield from _described(target, name, with_properties=True)
    yield from _client_lines()
    yield "## The test kit: `from konvox_hooks.testing import …`\n"
    for name in testing.__all__:
        target = getattr(testing, name)
        if inspect.isclass(target) or inspect.isfunction(target):
            yield from _described(target, name)
    yield "## Bundled handlers: `KONVOX_HANDLERS=…`\n"
    for name in _BUNDLED:
        yield f"### `{name}`\n"
        yield from _text(_module_text(name))


def _client_lines() -> Iterator[str]:
    yield "## The client: `ctx.konvox`, or `from konvox.client import KonvoxClient`\n"
    yield from _text(_module_text("konvox.client"))
    for client in (KonvoxClient, CallRetries):
        yield from _described(client, client.__name__)
    for part in _CLIENT_PARTS:
        yield from _described(part, part.__name__)
        for name, method in _public(part):
            yield from _described(method, f"{part.__name__}.{name}")
    for name in _RECORDS:
        yield from _described(getattr(resources, name), name)


def _module_text(name: str) -> str:
    text = inspect.getdoc(importlib.import_module(name)) or ""
    return re.sub(r"\n*```.*?```\n*", "\n\n", text, flags=re.DOTALL)


def _public(part: type) -> list[tuple[str, Any]]:
    return [
        (name, value) for name, value in vars(part).items() if not name.startswith("_") and inspect.isfunction(value)
    ]


def _described(target: Any, name: str, *, with_properties: bool = False) -> Iterator[str]:
    """The heading, the signature and the text of one object."""
    yield f"### `{name}`\n"
    signature = _signature(target, name)
    if signature:
        yield from ("```text", *textwrap.wrap(signature, _WIDTH, subsequent_indent="    "), "```\n")
    yield from _text(inspect.getdoc(target) or "")
    if with_properties and inspect.isclass(target):
        properties = {key: value for key, value in vars(target).items() if isinstance(value, property)}
        for key, value in properties.items():
            yield from _bullet(f"`{key}`: {inspect.getdoc(value)}")
        if properties:
            yield ""


def _signature(target: Any, name: str) -> str:
    if inspect.isclass(target):
        fields = {field: kind for field, kind in inspect.get_annotations(target).items() if not field.startswith("_")}
        if fields:
            return f"{name}: " + ", ".join(f"{field}: {_kind(kind)}" for field, kind in fields.items())
        if target.__init__ is object.__init__ or "__init__" not in vars(target):
            return ""
        target = target.__init__
    returns = inspect.get_annotations(target).get("return")
    arrow = f" -> {_kind(returns)}" if returns not in {None, "None"} else ""
    prefix = "await " if inspect.iscoroutinefunction(target) else ""
    return f"{prefix}{name}({', '.join(_parameters(target))}){arrow}"


def _parameters(target: Any) -> Iterator[str]:
    """The parameters of a function as its source has them, without `self`."""
    has_star = False
    for name, parameter in inspect.signature(target).parameters.items():
        if name == "self":
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not has_star:
            has_star = True
            yield "*"
        has_star |= parameter.kind is inspect.Parameter.VAR_POSITIONAL
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        default = "" if parameter.default is inspect.Parameter.empty else f" = {_default(parameter.default)}"
        yield f"{stars}{name}: {_kind(parameter.annotation)}{default}"


def _default(value: object) -> str:
    """A default as one would write it; that of an object, which has no such form, as `…`."""
    return "…" if re.search(r"[<(\[]", repr(value)) else repr(value)


def _kind(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _text(doc: str) -> Iterator[str]:
    """A docstring as Markdown: paragraphs, and a list for each of its sections."""
    for paragraph in re.split(r"\n\s*\n", doc):
        first, *rest = paragraph.splitlines() or [""]
        if _SECTION.match(first):
            yield f"{first}\n"
            for entry in re.split(r"\n(?=\S)", textwrap.dedent("\n".join(rest))):
                key, colon, text = entry.partition(": ")
                yield from _bullet(f"`{key.strip()}`: {text}" if colon and " " not in key.strip() else entry)
        else:
            yield from textwrap.wrap(
                " ".join(paragraph.split()), _WIDTH, break_long_words=False, break_on_hyphens=False
            )
        yield ""


def _bullet(text: str) -> list[str]:
    wrapped = textwrap.wrap(" ".join(text.split()), _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return [f"{'  ' if number else '- '}{line}" for number, line in enumerate(wrapped)]


def main() -> None:
    """Write the page again."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
