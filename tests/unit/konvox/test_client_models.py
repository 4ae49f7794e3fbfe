"""Tests of records and errors as values: what they read, keep and show."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from konvox.api.answers import Answer, Call, read_answer
from konvox.errors import BadRequestError, InvalidArgumentError, KonvoxApiError, NotFoundError
from konvox.resources import Campaign, Connection, Contact, SenderIdentity, Webhook
from konvox.wire import UnknownValue


def test_a_campaign_reads_what_is_documented() -> None:
    """A campaign's camelCase fields become snake_case, times become datetimes, and counts are by state."""
    campaign = Campaign.model_validate(
        {
            "id": "clc1",
            "name": "Spring",
            "channel": "multi",
            "status": "paused",
            "profileId": "p1",
            "senderIdentityId": "s1",
            "targetsByState": {"active": 3, "replied": 1},
            "createdAt": "2026-05-20T14:32:00.000Z",
        }
    )
    assert campaign.targets_by_state == {"active": 3, "replied": 1}
    assert campaign.sender_identity_id == "s1"
    assert campaign.created_at == datetime(2026, 5, 20, 14, 32, tzinfo=UTC)


@pytest.mark.parametrize("targets", [None, {}])
def test_a_campaign_without_targets(targets: Any) -> None:
    """A campaign without `targetsByState`, which only list and get always have, has no counts."""
    assert Campaign.model_validate({"id": "c", "name": "n", "targetsByState": targets}).targets_by_state == {}
    assert Campaign.model_validate({"id": "c", "name": "n"}).targets_by_state == {}


@pytest.mark.parametrize(
    ("model", "fields", "name"),
    [
        (Campaign, {"id": "c", "name": "n", "status": "archived"}, "status"),
        (Campaign, {"id": "c", "name": "n", "channel": "archived"}, "channel"),
        (Contact, {"id": "c", "email": "e", "status": "archived"}, "status"),
        (Connection, {"id": "c", "name": "n", "platform": "archived"}, "platform"),
        (Connection, {"id": "c", "name": "n", "connectionMethod": "archived"}, "connection_method"),
    ],
)
def test_values_unknown_to_us_are_text_that_can_be_told_apart(model: Any, fields: dict[str, Any], name: str) -> None:
    """An undocumented value is an UnknownValue that is equal to its text, and is serialised unchanged."""
    record = model.model_validate(fields)
    value = getattr(record, name)
    assert isinstance(value, UnknownValue)
    assert value == "archived"
    wire = orjson.loads(record.model_dump_json(by_alias=True, exclude_unset=True))
    assert wire == fields
    assert orjson.dumps(record.model_dump(by_alias=True, exclude_unset=True)) == orjson.dumps(fields)


def test_documented_values_are_plain() -> None:
    """A documented value is no UnknownValue."""
    assert not isinstance(Campaign(id="c", name="n", status="active").status, UnknownValue)


def test_inferred_fields_never_refuse_a_record() -> None:
    """An inferred field with another form is None, and the record is valid."""
    sender = SenderIdentity.model_validate(
        {"id": "s", "address": {"local": "a"}, "dailyLimit": "many", "warmup": [1], "createdAt": "yesterday"}
    )
    assert (sender.address, sender.daily_limit, sender.warmup, sender.created_at) == (None, None, [1], None)


def test_a_record_without_an_id_is_none() -> None:
    """A record without an id is refused."""
    with pytest.raises(ValidationError):
        Contact.model_validate({"email": "ada@example.com"})


@pytest.fixture
def webhook() -> Webhook:
    """A webhook whose answer held a secret, in a known field and in an unknown one."""
    return Webhook.model_validate(
        {"id": "w", "url": "https://example.com/TOKEN", "events": ["a.b"], "secret": "S3CRET", "hmacKey": "S3CRET"}
    )


def test_a_webhooks_secret_does_not_show(webhook: Webhook) -> None:
    """Neither token nor secret is in any repr, and the known secret is in no dump."""
    shown = f"{webhook} {webhook!r} {list(webhook.__repr_args__())} {webhook.model_copy()!r}"
    assert "S3CRET" not in shown
    assert "TOKEN" not in shown
    assert "secret" not in webhook.model_dump()
    assert webhook.model_extra == {"hmacKey": "S3CRET"}


def test_a_webhooks_secret_survives_copies(webhook: Webhook) -> None:
    """A copy of a webhook keeps the secret."""
    copies = [webhook.model_copy(), copy.deepcopy(webhook), pickle.loads(pickle.dumps(webhook))]
    assert [twin.signing_secret for twin in copies] == ["S3CRET"] * 3


@pytest.mark.parametrize("secret", [None, "", 5, {"value": "x"}])
def test_a_secret_that_is_no_text_is_none(secret: Any) -> None:
    """A secret that is no text, or empty, counts as none."""
    fields = {"id": "w", "url": "https://example.com", "secret": secret, "signingSecret": "whsec_2"}
    assert Webhook.model_validate(fields).signing_secret == "whsec_2"
    assert Webhook.model_validate(fields | {"signingSecret": secret}).signing_secret is None


def test_a_webhook_without_active_is_active() -> None:
    """A webhook without `active` is active, which is the documented default."""
    assert Webhook.model_validate({"id": "w", "url": "https://example.com"}).active is True


def test_errors_survive_a_pickle() -> None:
    """Errors keep their attributes when they are pickled for another process."""
    error = NotFoundError("no such campaign", status=404, method="GET", path="/api/campaigns/x")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), vars(twin)) == (NotFoundError, str(error), vars(error))
    refused = pickle.loads(pickle.dumps(InvalidArgumentError("no", argument="url")))
    assert (refused.argument, str(refused)) == ("url", "no")


def read(status: int, body: bytes) -> Answer | KonvoxApiError:
    """Read an answer to a GET."""
    return read_answer(Call("GET", "/api/x"), status=status, body=body, scrub=lambda text: text.replace("KEY", "***"))


def test_a_message_is_scrubbed_before_it_is_cut() -> None:
    """A message is scrubbed before it is cut, or half a key could remain; control characters are replaced."""
    error = read(400, orjson.dumps({"data": None, "error": "\x1b[2J" + "x" * 493 + "KEY"}))
    assert isinstance(error, BadRequestError)
    assert error.message == "[2J" + "x" * 493 + "***"
    assert len(error.message) <= 500


@pytest.mark.parametrize(
    ("meta", "total"), [({"total": 3}, 3), ({"total": -1}, None), ({"total": True}, None), ({}, None), ([], None)]
)
def test_the_total_is_a_count_or_none(meta: Any, total: int | None) -> None:
    """A total that is no count counts as not given."""
    answer = read(200, orjson.dumps({"data": [], "error": None, "meta": meta}))
    assert isinstance(answer, Answer)
    assert answer.total == total


@given(status=st.integers(100, 999), body=st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_an_error(status: int, body: bytes) -> None:
    """Any bytes become an answer or an error, nothing is raised, and a failure is never read as a success."""
    outcome = read(status, body)
    if not 200 <= status < 300:
        assert isinstance(outcome, KonvoxApiError)
        assert outcome.status == status
