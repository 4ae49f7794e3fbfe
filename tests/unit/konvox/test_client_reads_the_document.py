"""Tests of the client with the OpenAPI document of the contract: it can read every answer that is allowed there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from konvox.api.answers import DOCUMENTED_ERRORS, Answer, Call, read_answer
from konvox.resources import Campaign, Connection, Contact, Record, SenderIdentity, Webhook
from konvox.sandbox.control import openapi_document

DOCUMENT = orjson.loads(openapi_document())
MODELS: Mapping[str, type[Record]] = {
    "/api/campaigns": Campaign,
    "/api/campaigns/{id}": Campaign,
    "/api/contacts": Contact,
    "/api/sender-identities": SenderIdentity,
    "/api/connections": Connection,
    "/api/webhooks": Webhook,
}
ANY_JSON = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.lists(st.text(), max_size=2)
TIMES = st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
UNKNOWN_FIELDS = st.dictionaries(st.text(min_size=1).map("x{}".format), ANY_JSON, max_size=2)


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the document, or the part that it refers to; several that must all hold are merged."""
    if "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return resolved(found)
    if "allOf" not in part:
        return part
    parts = [resolved(one) for one in (*part["allOf"], {name: part[name] for name in part if name != "allOf"})]
    properties = {name: value for one in parts for name, value in one.get("properties", {}).items()}
    required = [name for one in parts for name in one.get("required", [])]
    return {"type": "object", "properties": properties, "required": required}


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Generates the values that a schema allows, with unknown fields."""
    schema = resolved(schema)
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    kinds = schema.get("type")
    if kinds is None:
        return ANY_JSON
    return st.one_of([_of_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _of_kind(kind: str, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if kind == "object":
        fields = {name: values(field) for name, field in schema.get("properties", {}).items()}
        required = {name: fields.pop(name) for name in schema.get("required", [])}
        unknown = schema.get("additionalProperties")
        others = UNKNOWN_FIELDS if unknown is None else st.dictionaries(st.text(), values(unknown), max_size=3)
        known = st.fixed_dictionaries(required, optional=fields)
        return st.builds(lambda more, own: {**more, **own}, others, known)
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=3)
    if kind == "string":
        return TIMES if schema.get("format") == "date-time" else st.text(min_size=schema.get("minLength", 0))
    kinds = {"integer": st.integers(schema.get("minimum", -(2**63)), 2**63), "boolean": st.booleans()}
    return kinds.get(kind, st.none())


def answers() -> Iterator[Any]:
    """Generates each documented answer of each call."""
    for path, calls in DOCUMENT["paths"].items():
        for method in ("get", "post", "patch", "delete"):
            for status, answer in calls.get(method, {}).get("responses", {}).items():
                schema = resolved(answer)["content"]["application/json"]["schema"]
                yield pytest.param(method.upper(), path, int(status), schema, id=f"{method} {path} {status}")


@pytest.mark.parametrize(("method", "path", "status", "schema"), list(answers()))
@settings(max_examples=20)
@given(st.data())
def test_everything_that_is_documented_can_be_read(
    method: str, path: str, status: int, schema: Mapping[str, Any], data: st.DataObject
) -> None:
    """Every documented success is read as a record or a list, and every failure as its error with Konvox's message."""
    envelope = data.draw(values(schema))
    outcome = read_answer(Call(method, path), status=status, body=orjson.dumps(envelope), scrub=str)
    if status >= 400:
        assert type(outcome) is DOCUMENTED_ERRORS[status]
        return
    assert isinstance(outcome, Answer)
    if method == "DELETE":
        return
    if isinstance(envelope["data"], list):
        assert [record.id for record in outcome.records(MODELS[path])] == [one["id"] for one in envelope["data"]]
        assert outcome.total == envelope["meta"]["total"]
    else:
        assert outcome.record(MODELS[path]).id == envelope["data"]["id"]


def test_every_call_of_the_document_is_read() -> None:
    """Each path of the document has its model, and there are the thirteen calls of the contract."""
    assert DOCUMENT["paths"].keys() == MODELS.keys()
    assert (
        sum(method in {"get", "post", "patch", "delete"} for calls in DOCUMENT["paths"].values() for method in calls)
        == 13
    )
