"""Tests of the sandbox's configuration, of requests to fire an event, and of its OpenAPI document."""

from __future__ import annotations

from typing import Any, TypedDict, get_args

import orjson
import pytest

from konvox import inferred, resources
from konvox.events import EVENT_MODELS
from konvox.sandbox import SandboxConfig
from konvox.sandbox.control import fire_faults, openapi_document
from konvox.schemes import SCHEMES, SchemeName


class Keys(TypedDict):
    """The two API keys of a sandbox."""

    full_key: str
    read_key: str


KEYS: Keys = {"full_key": "kvx_live_full", "read_key": "kvx_live_read"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"signing_scheme": "rot13"}, "no such signing scheme"),
        ({"scenario": "idyll"}, "no such scenario"),
        ({"rate": 0}, "the rate must be more than 0"),
        ({"rate": float("nan")}, "the rate must be more than 0"),
    ],
)
def test_what_could_not_work_is_refused(fields: dict[str, Any], message: str) -> None:
    """A configuration that cannot work is refused when it is made, not at the first delivery."""
    with pytest.raises(ValueError, match=message):
        SandboxConfig(**KEYS, **fields)


def test_a_secret_of_no_use_is_refused_and_not_repeated() -> None:
    """A secret that the scheme cannot use is refused with a message that does not repeat it."""
    with pytest.raises(ValueError, match="cannot be used with the scheme standard-webhooks") as caught:
        SandboxConfig(**KEYS, signing_scheme="standard-webhooks", signing_secret="whsec_§hush§")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_a_secret_nothing_is_signed(scheme: SchemeName) -> None:
    """Without a secret there is no signature header, as Konvox documents."""
    config = SandboxConfig(**KEYS, signing_scheme=scheme)
    assert config.signature_headers(b"{}", message_id="msg_1", moment=1) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 0}, "count must be"),
        ({"count": 1.0}, "count must be"),
        ({"count": 1000, "copies": 101}, "count times copies"),
        ({"delay_seconds": -1}, "delay_seconds must be"),
        ({"delay_seconds": "1"}, "delay_seconds must be"),
        ({"copy_delay_seconds": 3601}, "copy_delay_seconds must be"),
        ({"copy_delay_seconds": True}, "copy_delay_seconds must be"),
        ({"shuffle": 1}, "shuffle must be"),
    ],
)
def test_a_wrong_request_to_fire_has_a_fault(fields: dict[str, Any], message: str) -> None:
    """A wrong request to fire an event has one fault, with a message."""
    [fault] = fire_faults({"event": "contact.replied"} | fields)
    assert message in fault


def test_a_full_request_to_fire_has_no_fault() -> None:
    """A request to fire with all fields has no fault."""
    order = {"event": "a.b", "data": {}, "count": 10, "copies": 10, "delay_seconds": 0.5, "copy_delay_seconds": 1}
    assert list(fire_faults(order | {"shuffle": True, "wait": True})) == []


DOCUMENT: dict[str, Any] = orjson.loads(openapi_document())
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_the_document_names_every_path_and_event() -> None:
    """The OpenAPI document names every path and every event."""
    paths = inferred.DEFAULT_PATHS
    assert DOCUMENT["openapi"].startswith("3.1")
    assert set(DOCUMENT["paths"]) == {
        paths.campaigns,
        f"{paths.campaigns}/{{id}}",
        paths.contacts,
        paths.sender_identities,
        paths.connections,
        paths.webhooks,
    }
    assert DOCUMENT["webhooks"].keys() == EVENT_MODELS.keys()


def test_the_document_names_every_inferred_field() -> None:
    """The OpenAPI document names every inferred field."""
    sender = SCHEMAS["SenderIdentity"]["properties"]
    assert {
        inferred.SENDER_ADDRESS_FIELD,
        inferred.SENDER_DAILY_LIMIT_FIELD,
        inferred.SENDER_WARMUP_FIELD,
    } < sender.keys()
    assert tuple(SCHEMAS["RegisteredWebhook"]["allOf"][1]["properties"]) == inferred.SECRET_FIELDS


@pytest.mark.parametrize(
    ("schema", "field", "literal"),
    [
        ("NewCampaign", "channel", resources.CampaignChannel),
        ("CampaignChanges", "status", resources.CampaignStatusChange),
        ("Campaign", "status", resources.CampaignStatus),
        ("Campaign", "channel", resources.CampaignChannel),
        ("Contact", "status", resources.ContactStatus),
        ("NewConnection", "platform", resources.ConnectionPlatform),
        ("NewConnection", "connectionMethod", resources.ConnectionMethod),
        ("Connection", "platform", resources.ConnectionPlatform),
        ("Connection", "connectionMethod", resources.ConnectionMethod),
    ],
)
def test_the_document_and_the_client_know_the_same_values(schema: str, field: str, literal: Any) -> None:
    """The document and the client have the same enumerations, in the same order."""
    assert tuple(SCHEMAS[schema]["properties"][field]["enum"]) == get_args(literal)
