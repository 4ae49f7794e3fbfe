"""The pages in Markdown: what they link to and the files that they name exist, and their prose fits the screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
    for path in PROJECT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it names what earlier versions had
)
WIDTH = 120

_TOP_LEVEL = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith(".")}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\s]+)`")
_MADE_LATER = ("benchmarks/results", "benchmarks/.peers")
"""Folders that a command makes, and git does not know."""


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, without those of code blocks."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, line


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = (line.lstrip("#").strip() for _, line in prose_lines(text) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading."""
    dead = []
    for target in _LINK.findall("\n".join(line for _, line in prose_lines(text))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        exists = file.exists() and (not anchor or anchor in headings(file.read_text(encoding="utf-8")))
        dead += [] if exists else [target]
    return dead


def missing_files(text: str) -> list[str]:
    """The paths from the project's folder that a page names in its prose and that do not exist."""
    named = {
        name.rstrip("/")
        for _, line in prose_lines(text)
        for name in _CODE.findall(line)
        if name.partition("/")[0] in _TOP_LEVEL and "/" in name and not re.search(r"[<>*{}$…]", name)
    }
    return sorted(name for name in named if not name.startswith(_MADE_LATER) and not (PROJECT / name).exists())


def long_lines(text: str) -> list[int]:
    """The numbers of lines of prose that are too long. A table's rows cannot be wrapped, nor can a link alone."""
    return [
        number
        for number, line in prose_lines(text)
        if len(line) > WIDTH and not line.startswith("|") and not re.fullmatch(r"[-* ]*\[[^\]]*\]\([^)]*\)[.,]?", line)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_resolve(page: Path) -> None:
    """Every relative link of a page leads to a file that exists, and to one of its headings."""
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_named_files_exist(page: Path) -> None:
    """Every file and folder of the project that a page names by its path exists."""
    assert missing_files(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_prose_is_wrapped(page: Path) -> None:
    """No line of a page's prose is longer than 120 characters."""
    assert long_lines(page.read_text(encoding="utf-8")) == []


def test_the_checks_find_faults() -> None:
    """A dead link, a dead anchor, a file that is gone and a long line are found; code blocks are left alone."""
    page = PROJECT / "docs" / "page.md"
    text = "[a](gone.md) [b](../README.md#no-such-heading) `broker/gone.py` `broker/`\n" + "x" * 121
    block = "```text\n[c](gone.md) `broker/gone.py` " + "x" * 121 + "\n```\n"
    assert dead_links(page, block + text) == ["gone.md", "../README.md#no-such-heading"]
    assert missing_files(block + text) == ["broker/gone.py"]
    assert long_lines(block + text) == [5]


def test_the_readme_is_short() -> None:
    """The README stays under 250 lines."""
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) < 250
