"""Tests of the settings that correct what is inferred about the API."""

from __future__ import annotations

import re
from dataclasses import asdict
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.inferred import DEFAULT_PATHS, SECRET_FIELDS, Paths
from konvox_hooks.config.api_paths import RESOURCES, resource_paths
from konvox_hooks.config.handlers import konvox_access
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError
from worker.running.context import KonvoxAccess


def load(**variables: str) -> Settings:
    """The settings that these variables make; their names are without the prefix."""
    with patch.dict("os.environ", {f"KONVOX_{name}": value for name, value in variables.items()}):
        return load_settings(env_file="none")


def what_is_wrong(entry: str) -> str:
    """The message about one entry; empty if the entry is valid."""
    try:
        resource_paths([entry])
    except ValueError as error:
        return str(error)
    return ""


def test_without_entries_the_inferred_paths_are_used() -> None:
    """Without entries, the paths are the inferred ones."""
    assert resource_paths([]) == DEFAULT_PATHS


def test_an_entry_changes_one_resource() -> None:
    """An entry changes the path of its resource only, and blanks around it do not count."""
    found = resource_paths(["contacts = /v2/contacts", "sender_identities=/api/senders;v=1/~a%20b"])
    assert found == Paths(contacts="/v2/contacts", sender_identities="/api/senders;v=1/~a%20b")


def test_what_is_inferred_can_be_written_out() -> None:
    """The default paths, written as entries, are valid."""
    assert resource_paths([f"{name}={path}" for name, path in asdict(DEFAULT_PATHS).items()]) == DEFAULT_PATHS


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (["contacts=/a", "/api/contacts"], "entry 2 of 2 is not of the form resource=/path"),
        (["people=/api/people"], f"entry 1 of 1 names no resource; the resources are {', '.join(RESOURCES)}"),
        (["contacts=/a", "contacts=/b"], "entry 2 of 2 names contacts again: keep one"),
        (["contacts="], "entry 1 of 1, contacts: this is not a path"),
        (["contacts=api/contacts"], "this is not a path"),
        (["contacts=/"], "this is not a path"),
        (["contacts=/api/contacts/"], "this is not a path"),
        (["contacts=/api//contacts"], "this is not a path"),
        (["contacts=/api/../contacts"], "this is not a path"),
        (["contacts=/api/."], "this is not a path"),
        (["contacts=/api/contacts?a=b"], "this is not a path"),
        (["contacts=/api/contacts#a"], "this is not a path"),
        (["contacts=/api/con tacts"], "this is not a path"),
        (["contacts=/api/100%"], "this is not a path"),
        (["contacts=https://app.example.com/api/contacts"], "this is not a path"),
        (["contacts=/kontäkte"], "this is not a path"),
    ],
)
def test_what_is_no_path_is_explained(entries: list[str], fault: str) -> None:
    """The message about an invalid entry says which entry it is."""
    with pytest.raises(ValueError, match=re.escape(fault)):
        resource_paths(entries)


@given(st.text(max_size=40).map("qz{}zq".format), st.sampled_from(["", "contacts=", "contacts=/", "webhooks=/api?"]))
def test_any_entry_is_taken_or_explained_without_its_text(text: str, start: str) -> None:
    """Every text is either accepted or refused with a message that does not quote it."""
    assert text not in what_is_wrong(start + text)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("API_AUTH", "basic", "this should be 'bearer' or 'x-api-key'"),
        ("API_PATHS", "contacts=/a, people=/b", "entry 2 of 2 names no resource"),
    ],
)
def test_a_fault_in_the_settings_names_the_variable(name: str, value: str, fault: str) -> None:
    """The message about an invalid setting names the variable, the reason and an example."""
    with pytest.raises(UsageError) as caught:
        load(**{name: value})
    assert str(caught.value).startswith(f"KONVOX_{name}: {fault}")
    assert f"(example: KONVOX_{name}=" in str(caught.value)


def test_handlers_get_what_the_settings_say() -> None:
    """Each of these settings reaches the API access of the handlers."""
    settings = load(
        API_URL="https://app.example.com",
        API_KEY="kvx_live_0123456789",
        API_AUTH="X-API-Key",
        API_PATHS="campaigns=/v2/campaigns,webhooks=/v2/hooks",
        API_SECRET_FIELDS="webhookSecret, secret",
    )
    assert konvox_access(settings)[""] == KonvoxAccess(
        "https://app.example.com",
        "kvx_live_0123456789",
        auth="x-api-key",
        paths=Paths(campaigns="/v2/campaigns", webhooks="/v2/hooks"),
        secret_fields=["webhookSecret", "secret"],
    )


def test_without_settings_what_is_inferred_holds() -> None:
    """Without settings, handlers have no API access, and the inferred paths and fields."""
    access = konvox_access(Settings())[""]
    assert access == KonvoxAccess(None, None)
    assert (access.auth, access.paths, access.secret_fields) == ("bearer", DEFAULT_PATHS, SECRET_FIELDS)


def test_the_key_is_not_in_the_repr() -> None:
    """The repr of the API access does not show the key."""
    assert "kvx" not in repr(KonvoxAccess("https://app.example.com", "kvx_live_0123456789"))
