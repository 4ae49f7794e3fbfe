"""Tests of how `api` shows Konvox's records: in the API's own form, with secrets masked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.errors import InvalidArgumentError
from konvox.resources import Campaign, Contact, Record, SenderIdentity, Webhook
from konvox.urls import MASK
from konvox_hooks.commands.api.calls import in_options
from konvox_hooks.commands.api.records import CAMPAIGNS, SENDERS, as_rows, webhooks_listing, wire

WEBHOOK: dict[str, Any] = {
    "id": "clw1",
    "url": "https://hooks.example.com/hooks/konvox/s3cret-t0ken",
    "events": ["contact.replied"],
    "active": True,
    "createdAt": "2026-05-20T14:32:00.000Z",
}

plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("abXY_", max_size=5), children),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Contact, {"id": "clp1", "email": "ada@example.com", "firstName": "Ada", "lastName": None, "status": "active"}),
        (Contact, {"id": "clp1", "email": "ada@example.com", "status": "paused", "leadScore": {"a": [1, 2.5, "x"]}}),
        (Campaign, {"id": "clc1", "name": "Spring", "targetsByState": {"replied": 2}, "createdAt": None}),
        (SenderIdentity, {"id": "cls1", "address": "ada@x.konvox.io", "dailyLimit": 40, "warmup": {"day": 3}}),
        (Webhook, WEBHOOK | {"url": "https://hooks.example.com/hooks/konvox"}),
    ],
)
def test_a_record_is_shown_as_it_came(model: type[Record], fields: dict[str, Any]) -> None:
    """A record keeps its names, values, unknown fields and unknown statuses, and gets no additional fields."""
    assert wire(model.model_validate(fields)) == fields


@given(st.dictionaries(st.text("abXY_", min_size=1, max_size=5), plain_json, max_size=4))
def test_unknown_fields_are_kept(extra: dict[str, Any]) -> None:
    """Unknown fields of any kind are shown."""
    assert wire(Contact.model_validate({"id": "clp1", "email": "a@b.c"} | extra)).items() >= extra.items()


def test_a_url_is_masked_unless_it_is_asked_for() -> None:
    """A webhook's URL is masked in the table and in JSON, also where an unknown field repeats it."""
    webhook = Webhook.model_validate(WEBHOOK | {"lastTest": {"to": [WEBHOOK["url"]]}})
    masked = "https://hooks.example.com/hooks/konvox/••••"
    assert wire(webhook) == WEBHOOK | {"url": masked, "lastTest": {"to": [masked]}}
    assert wire(webhook, show_urls=True) == WEBHOOK | {"lastTest": {"to": [WEBHOOK["url"]]}}
    rest = ("contact.replied", "yes", "2026-05-20T14:32:00.000Z")
    assert webhooks_listing(show_urls=False).row(webhook) == ("clw1", masked, *rest)
    assert webhooks_listing(show_urls=True).row(webhook) == ("clw1", WEBHOOK["url"], *rest)


@given(st.text("abcXYZ019._~-", min_size=8, max_size=40).map("s3cret{}".format))
def test_no_token_is_shown(token: str) -> None:
    """No token of any form is shown."""
    webhook = Webhook.model_validate(WEBHOOK | {"url": f"https://hooks.example.com/hooks/konvox/{token}"})
    assert token not in f"{wire(webhook)} {webhooks_listing(show_urls=False).row(webhook)}"


@pytest.mark.parametrize(
    "name",
    [
        "secret",
        "signingSecret",
        "webhook_secret",
        "accessToken",
        "token",
        "password",
        "apiKey",
        "signing_key",
        "tokens",
    ],
)
def test_what_has_the_name_of_a_secret_is_masked(name: str) -> None:
    """A field with a secret's name is masked at any depth, even if URLs are shown; that it is empty stays visible."""
    extra = {name: "s3cret", "more": [{name: ["s3cret"]}], "none": {name: None}}
    webhook = Webhook.model_validate(WEBHOOK | extra)
    for show_urls in (False, True):
        fields = wire(webhook, show_urls=show_urls)
        assert "s3cret" not in str(fields | {"url": ""})
        assert fields["none"] == {name: None}
        assert fields["more"] == [{name: [MASK]}]


@pytest.mark.parametrize("name", ["secretary", "tokenCount", "title", "hasPassword"])
def test_other_names_are_no_secrets(name: str) -> None:
    """A name that only contains such a word, and a flag, are not masked."""
    value: Any = True if name == "hasPassword" else "value"
    assert wire(Contact.model_validate({"id": "clp1", "email": "a@b.c", name: value}))[name] == value


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2026-05-20T14:32:00Z", "2026-05-20T14:32:00.000Z"),
        ("2026-05-20T16:32:00.123456+02:00", "2026-05-20T14:32:00.123Z"),
        ("2026-05-20T14:32:00", "2026-05-20T14:32:00"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00+05:00"),
        ("yesterday", None),
    ],
)
def test_times_are_written_as_konvox_writes_them(sent: str, shown: str | None) -> None:
    """Times have Konvox's format, or another one if that is not possible; no time is an error."""
    contact = Contact.model_validate({"id": "clp1", "email": "a@b.c", "updatedAt": sent})
    assert wire(contact)["updatedAt"] == shown


def test_a_row_of_campaigns_counts_the_targets() -> None:
    """A campaign's row counts the targets by state, in their original order."""
    fields: dict[str, Any] = {
        "id": "clc1",
        "name": "Spring",
        "channel": "fax",
        "createdAt": datetime(2026, 5, 20, tzinfo=UTC),
    }
    campaign = Campaign.model_validate(fields | {"targetsByState": {"replied": 2, "active": 1}})
    expected = ("clc1", "Spring", "fax", None, "replied 2, active 1", "2026-05-20T00:00:00.000Z")
    assert CAMPAIGNS.row(campaign) == expected


def test_a_sender_without_an_address_is_its_local_part() -> None:
    """A sender without an address is shown by its local part, because the field of the address is only inferred."""
    sender = SenderIdentity.model_validate({"id": "cls1", "localPart": "ada", "warmup": {"day": 3}})
    assert SENDERS.row(sender) == ("cls1", "ada", None, None, '{"day":3}')


def test_a_value_is_text_or_json() -> None:
    """A cell shows text unchanged, null as empty, and any other value as JSON."""
    fields = {"a": "x", "b": None, "c": True, "d": 2**70, "e": {"f": ["ü"]}}
    assert as_rows(fields) == [("a", "x"), ("b", None), ("c", "true"), ("d", str(2**70)), ("e", '{"f":["ü"]}')]


@pytest.mark.parametrize(
    ("message", "argument", "shown"),
    [
        (
            "an email campaign needs sender_identity_id, the id of a sender identity",
            "sender_identity_id",
            "an email campaign needs --sender-identity-id, the id of a sender identity",
        ),
        (
            "a socialcrabs connection needs disclaimer_accepted=True",
            "disclaimer_accepted",
            "a socialcrabs connection needs --accept-disclaimer",
        ),
        ("campaign_id must be the id of a record", "campaign_id", "ID must be the id of a record"),
        ("url must be an https:// URL", "url", "--url must be an https:// URL"),
        ("an update needs at least one field to change", "", "an update needs at least one field to change"),
    ],
)
def test_a_wrong_argument_has_the_name_of_its_option(message: str, argument: str, shown: str) -> None:
    """A message about an argument names the option of the command line."""
    assert in_options(InvalidArgumentError(message, argument=argument)) == shown
