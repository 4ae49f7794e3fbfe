"""Tests of odd records in lists of the API: one of them hides neither the others nor itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.api.answers import Answer, Call
from konvox.resources import Campaign, Connection, Contact, Record, SenderIdentity, Webhook
from konvox.wire import UnknownValue
from konvox_hooks.commands.api.records import (
    CAMPAIGNS,
    CONNECTIONS,
    CONTACTS,
    SENDERS,
    Listing,
    cells,
    webhooks_listing,
    wire,
)

LISTINGS: dict[type[Record], Listing[Any]] = {
    Campaign: CAMPAIGNS,
    Contact: CONTACTS,
    SenderIdentity: SENDERS,
    Connection: CONNECTIONS,
    Webhook: webhooks_listing(show_urls=False),
}
NAMES = [
    *("id", "name", "channel", "status", "profileId", "senderIdentityId", "targetsByState", "email", "firstName"),
    *("companyName", "linkedinUrl", "title", "localPart", "displayName", "address", "dailyLimit", "warmup"),
    *("platform", "connectionMethod", "username", "url", "events", "active", "secret", "createdAt", "updatedAt"),
    *("value", "model_config", "created_at", ""),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ITEMS = JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


def records(model: type[Any], *items: Any) -> tuple[Any, ...]:
    """The records of a list."""
    return Answer(Call("GET", "/api/x"), 200, list(items)).records(model)


@given(model=st.sampled_from(list(LISTINGS)), items=st.lists(ITEMS, max_size=5))
def test_every_item_of_a_list_is_a_record_that_can_be_shown(model: type[Record], items: list[Any]) -> None:
    """Whatever stands in a list, there is one record for each, with its id, and each can be shown in both forms."""
    read = records(model, *items)
    assert len(read) == len(items)
    for record, item in zip(read, items, strict=True):
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            assert record.id == item["id"]
        assert json.dumps(wire(record))
        assert len(cells(LISTINGS[model], record, show_urls=False)) == len(LISTINGS[model].columns)
        assert repr(record)


@pytest.mark.parametrize("odd", [None, "clx1", 5, [], {}, {"id": None, "name": None}, {"id": {"a": 1}}, {"name": [1]}])
@pytest.mark.parametrize("model", LISTINGS)
def test_an_odd_record_hides_no_other(model: type[Record], odd: Any) -> None:
    """The records before and behind an odd one are as they would be without it."""
    good = {"id": "cl1", "name": "n", "email": "e", "url": "https://example.com/a"}
    first, _, last = records(model, good, odd, good)
    assert first == last == model.model_validate(good)


def test_an_odd_record_shows_what_can_be_read_of_it() -> None:
    """A null or missing name, an unknown status and an id that is a number are shown; so is what is no object."""
    nameless, unknown, numbered, idless, nothing = records(
        Campaign,
        {"id": "a", "name": None, "status": None, "targetsByState": {"active": 3, "odd": "x", "none": None}},
        {"id": "b", "status": "archived", "channel": {"kind": "fax"}},
        {"id": 7, "name": 8, "targetsByState": [1]},
        {"name": "Spring"},
        "cl5",
    )
    assert (nameless.name, nameless.status, nameless.targets_by_state) == (None, None, {"active": 3})
    assert (unknown.status, unknown.channel, unknown.name) == ("archived", '{"kind":"fax"}', None)
    assert isinstance(unknown.channel, UnknownValue)
    assert (numbered.id, numbered.name, numbered.targets_by_state) == ("7", "8", {})
    assert (idless.id, idless.name) == ("", "Spring")
    assert (nothing.id, nothing.value) == ("", "cl5")
    assert cells(CAMPAIGNS, nothing, show_urls=False)[0] == "cl5"
    assert wire(nothing) == {"id": "", "value": "cl5"}


@pytest.mark.parametrize(
    ("fields", "url", "events", "active"),
    [
        ({}, "", (), True),
        ({"url": None, "events": None, "active": None}, "", (), True),
        ({"url": {"href": "https://x/s3cret"}, "events": "a.b", "active": "paused"}, "", ("a.b",), False),
        ({"url": 5, "events": ["a.b", None, 5, {"n": 1}], "active": 0}, "5", ("a.b", "5", '{"n":1}'), False),
        ({"events": {"a.b": True}, "active": "true"}, "", ('{"a.b":true}',), True),
    ],
)
def test_an_odd_webhook(fields: dict[str, Any], url: str, events: tuple[str, ...], active: bool) -> None:
    """A webhook without a readable URL has none, and it is active only if Konvox says so or nothing at all."""
    (webhook,) = records(Webhook, {"id": "clw1", **fields})
    assert (webhook.url, webhook.events, webhook.active) == (url, events, active)


@pytest.mark.parametrize(
    "item",
    [
        "https://example.com/hooks/konvox/s3cret",
        ["https://example.com/hooks/konvox/s3cret"],
        {"url": {"href": "https://example.com/hooks/konvox/s3cret"}, "secret": "s3cret"},
        {"id": "clw1", "target": "https://example.com/hooks/konvox/s3cret", "signingSecret": ["s3cret"]},
        {"id": ["https://example.com/hooks/konvox/s3cret"]},
    ],
)
def test_no_token_of_an_odd_webhook_is_shown(item: Any) -> None:
    """Wherever an odd webhook has its URL, its token is in no table, no JSON and no repr."""
    (webhook,) = records(Webhook, item)
    listing = webhooks_listing(show_urls=False)
    shown = f"{wire(webhook)} {listing.row(webhook)} {cells(listing, webhook, show_urls=False)} {webhook!r}"
    assert "s3cret" not in shown


async def test_a_single_record_needs_an_id() -> None:
    """The answer of a call about one record may lack anything but its id."""
    answer = Answer(Call("GET", "/api/x"), 200, {"id": "cl1"})
    assert answer.record(Contact).email is None
