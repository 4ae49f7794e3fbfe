"""Tests that all inferred values are in one module, and that the OpenAPI document agrees with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import orjson

from konvox import inferred
from konvox.resources import Record
from konvox.sandbox.control import openapi_document

_ROOT = Path(__file__).parents[3]
_ROOMS = ("konvox", "broker", "receiver", "worker", "handlers", "console")
_ONE_PLACE = _ROOT / "konvox" / "inferred.py"

_NAMES = {
    *astuple(inferred.DEFAULT_PATHS),
    *inferred.SECRET_FIELDS,
    inferred.SIGNATURE_HEADER,
    inferred.SENDER_DAILY_LIMIT_FIELD,
    inferred.SENDER_WARMUP_FIELD,
    inferred.CREATED_AT_FIELD,
    inferred.UPDATED_AT_FIELD,
}
"""Of the inferred names those that mean nothing else: `address` and the states are words of other things too."""


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every text in the code that is not a docstring."""
    prose = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value


def test_nothing_else_spells_out_what_is_inferred() -> None:
    """No other module holds an inferred path, header or field as a text."""
    sources = [path for room in _ROOMS for path in (_ROOT / room).rglob("*.py") if path != _ONE_PLACE]
    found = [
        f"{path.relative_to(_ROOT)}: {text}"
        for path in sources
        for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if text in _NAMES or any(text.startswith(name) for name in _NAMES if name.startswith("/"))
    ]
    assert len(sources) > 100
    assert found == []


def test_the_openapi_document_has_the_same_paths() -> None:
    """The OpenAPI document, which is written by hand, has the inferred paths."""
    documented = {path.removesuffix("/{id}") for path in orjson.loads(openapi_document())["paths"]}
    assert documented == set(astuple(inferred.DEFAULT_PATHS))


def test_the_openapi_document_has_the_same_fields() -> None:
    """The OpenAPI document has the inferred fields of a sender identity, and the times of every record."""
    schemas = orjson.loads(openapi_document())["components"]["schemas"]
    sender = {inferred.SENDER_ADDRESS_FIELD, inferred.SENDER_DAILY_LIMIT_FIELD, inferred.SENDER_WARMUP_FIELD}
    assert sender <= schemas["SenderIdentity"]["properties"].keys()
    assert {inferred.CREATED_AT_FIELD, inferred.UPDATED_AT_FIELD} <= schemas["Campaign"]["properties"].keys()


def test_the_times_are_read_from_their_fields() -> None:
    """A record reads its times from the inferred fields."""
    moment = "2026-05-20T14:32:00.000Z"
    record = Record.model_validate({"id": "clc1", inferred.CREATED_AT_FIELD: moment, inferred.UPDATED_AT_FIELD: moment})
    assert record.created_at == record.updated_at is not None
