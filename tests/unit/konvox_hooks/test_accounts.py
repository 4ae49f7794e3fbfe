"""Several accounts on one receiver: the endpoints file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from konvox_hooks.config.accounts import load_endpoints, settings_of_endpoint
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError

TOKEN = "a-token-of-22-letters_"


def settings(tmp_path: Path, toml: str, **fields: object) -> Settings:
    """Settings that name a file with this content."""
    path = tmp_path / "endpoints.toml"
    path.write_text(toml, encoding="utf-8")
    return Settings.model_validate({"endpoints_file": path, **fields})


def fault(tmp_path: Path, toml: str) -> str:
    """What is said about a file."""
    with pytest.raises(UsageError) as caught:
        load_endpoints(settings(tmp_path, toml))
    return str(caught.value)


def test_without_a_file_the_variables_are_the_one_endpoint() -> None:
    """Whoever has one account need not know of endpoints."""
    alone = Settings(hook_tokens=[SecretStr(TOKEN)])
    assert load_endpoints(alone) == {"": alone}


def test_each_endpoint_has_its_own_account_and_shares_the_rest(tmp_path: Path) -> None:
    """Tokens, secrets, company and key are the endpoint's; the API's URL and the limits are those of the variables."""
    (tmp_path / "key").write_text("kvx_live_acme\n")
    toml = f"""
    [acme]
    hook_tokens = ["{TOKEN}"]
    company_ids = ["clacme"]
    api_key_file = "{tmp_path}/key"

    [globex]
    signature = "hmac-sha256"
    signing_secrets = ["globex-secret"]
    """
    shared = {"api_url": "https://app.example.com", "max_body_bytes": 1000, "api_key": "kvx_live_top"}
    endpoints = load_endpoints(settings(tmp_path, toml, hook_tokens="top-token", **shared))
    assert sorted(endpoints) == ["", "acme", "globex"]
    acme, globex = endpoints["acme"], endpoints["globex"]
    assert acme.api_key is not None
    assert acme.api_key.get_secret_value() == "kvx_live_acme"
    assert (acme.api_url, acme.max_body_bytes, acme.company_ids) == ("https://app.example.com", 1000, ["clacme"])
    assert (globex.hook_tokens, globex.api_key, globex.signature) == ([], None, "hmac-sha256")


def test_the_variables_are_no_endpoint_if_they_let_nobody_in(tmp_path: Path) -> None:
    """With a file, the variables need neither token nor signature."""
    just_file = settings(tmp_path, f'[acme]\nhook_tokens = ["{TOKEN}"]')
    just_file.require_way_in()
    assert list(load_endpoints(just_file)) == ["acme"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[acme", "not TOML"),
        ("", "it names no endpoint"),
        ('acme = "x"', "must be a table"),
        ("[acme]", "[acme] hook_tokens: neither a token nor a signature"),
        ('["a b"]\nhook_tokens = ["x"]', "plain name"),
        ('[acme]\ntoken = "x"', "[acme] token: not known here"),
        ('[acme]\nhook_tokens = ["with/slash-s3cret"]', "[acme] hook_tokens: token 1 of 1 has characters"),
        ('[acme]\nsignature = "hmac-sha256"', "[acme] signing_secrets: "),
        ('[acme]\nport = 1\nhook_tokens = ["x"]', "[acme] port: not known here"),
        ('[acme]\nhook_tokens_file = "/does/not/exist"', "[acme] hook_tokens_file: the file that it names"),
        ('[a]\nhook_tokens = ["s3cret"]\n[b]\nhook_tokens = ["s3cret"]', "[a] and [b] share a token"),
    ],
)
def test_each_fault_names_the_endpoint_and_shows_no_secret(tmp_path: Path, toml: str, said: str) -> None:
    """A line for each fault: the file, the endpoint, the field, and what is wrong."""
    line = fault(tmp_path, toml)
    assert said in line
    assert "endpoints.toml" in line
    assert "s3cret" not in line


def test_a_file_that_is_not_there_is_a_fault_of_its_variable(tmp_path: Path) -> None:
    """The message names the variable and the path."""
    with pytest.raises(UsageError, match=r"KONVOX_ENDPOINTS_FILE: .*gone\.toml cannot be read"):
        load_endpoints(Settings(endpoints_file=tmp_path / "gone.toml"))


def test_a_command_picks_an_endpoint_by_name(tmp_path: Path) -> None:
    """Without a name it takes the variables' own; an unknown name, or none where there are several, is told."""
    several = settings(tmp_path, f'[acme]\nhook_tokens = ["{TOKEN}"]')
    assert settings_of_endpoint(several, "acme").hook_tokens == [SecretStr(TOKEN)]
    with pytest.raises(UsageError, match="--endpoint"):
        settings_of_endpoint(several, None)
    with pytest.raises(UsageError, match="there are acme"):
        settings_of_endpoint(several, "globex")
