"""Tests of the accounts file, which describes several accounts on one receiver."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from konvox_hooks.config.accounts import load_accounts, settings_of_account
from konvox_hooks.config.load import load_settings, unknown_variables
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError

TOKEN = "a-token-of-22-letters_"


def settings(tmp_path: Path, toml: str, **fields: object) -> Settings:
    """The settings that name a file with this content."""
    path = tmp_path / "accounts.toml"
    path.write_text(toml, encoding="utf-8")
    return Settings.model_validate({"accounts_file": path, **fields})


def fault(tmp_path: Path, toml: str) -> str:
    """The message about a file with a fault."""
    with pytest.raises(UsageError) as caught:
        load_accounts(settings(tmp_path, toml))
    return str(caught.value)


def test_without_a_file_the_variables_are_the_one_account() -> None:
    """Without an accounts file, the environment variables describe the only account."""
    alone = Settings(hook_tokens=[SecretStr(TOKEN)])
    assert load_accounts(alone) == {"": alone}


def test_each_account_has_its_own_secrets_and_shares_the_rest(tmp_path: Path) -> None:
    """Tokens, secrets, company and key are of one account; the API's URL and the limits come from the environment."""
    (tmp_path / "key").write_text("kvx_live_acme\n")
    toml = f"""
    [acme]
    hook_tokens = ["{TOKEN}"]
    company_ids = ["clacme"]
    api_key_file = "{tmp_path}/key"

    [globex]
    signature = "hmac-sha256"
    signing_secrets = ["globex-secret-0123456789"]
    """
    shared = {"api_url": "https://app.example.com", "max_body_bytes": 1000, "api_key": "kvx_live_top"}
    accounts = load_accounts(settings(tmp_path, toml, hook_tokens="top-token-0123456789", **shared))
    assert sorted(accounts) == ["", "acme", "globex"]
    acme, globex = accounts["acme"], accounts["globex"]
    assert acme.api_key is not None
    assert acme.api_key.get_secret_value() == "kvx_live_acme"
    assert (acme.api_url, acme.max_body_bytes, acme.company_ids) == ("https://app.example.com", 1000, ["clacme"])
    assert (globex.hook_tokens, globex.api_key, globex.signature) == ([], None, "hmac-sha256")


@pytest.mark.parametrize("heading", ["accounts", "endpoints"])
def test_accounts_may_stand_below_a_heading(tmp_path: Path, heading: str) -> None:
    """`[accounts.acme]` is the account acme, and the former heading `endpoints` is read too."""
    toml = f'[{heading}.acme]\nhook_tokens = ["{TOKEN}"]\n[{heading}.globex]\nhook_tokens = ["another-{TOKEN}"]'
    assert list(load_accounts(settings(tmp_path, toml))) == ["acme", "globex"]


def test_an_account_may_be_named_like_the_heading(tmp_path: Path) -> None:
    """A table `[accounts]` that holds settings and no tables is an account of that name."""
    assert list(load_accounts(settings(tmp_path, f'[accounts]\nhook_tokens = ["{TOKEN}"]'))) == ["accounts"]


def test_the_variables_are_no_account_if_they_let_nobody_in(tmp_path: Path) -> None:
    """With an accounts file, the environment variables need neither a token nor a signature."""
    just_file = settings(tmp_path, f'[acme]\nhook_tokens = ["{TOKEN}"]')
    just_file.require_authentication()
    assert list(load_accounts(just_file)) == ["acme"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[acme", "not TOML"),
        ("", "it names no account"),
        ('acme = "x"', "must be a table"),
        ("[acme]", "[acme] hook_tokens: neither a token nor a signature"),
        ('["a b"]\nhook_tokens = ["x"]', "plain name"),
        ('[acme]\ntoken = "x"', "[acme] token: not known here"),
        ('[acme]\nhook_tokens = ["with/slash-s3cret"]', "[acme] hook_tokens: token 1 of 1 has characters"),
        ('[acme]\nsignature = "hmac-sha256"', "[acme] signing_secrets: "),
        ('[acme]\nport = 1\nhook_tokens = ["x"]', "[acme] port: not known here"),
        ('[acme]\nhook_tokens_file = "/does/not/exist"', "[acme] hook_tokens_file: the file that it names"),
        (
            '[a]\nhook_tokens = ["s3cret-0123456789"]\n[b]\nhook_tokens = ["s3cret-0123456789"]',
            "[a] and [b] share a token",
        ),
    ],
)
def test_each_fault_names_the_account_and_shows_no_secret(tmp_path: Path, toml: str, said: str) -> None:
    """Each fault is one line with the file, the account, the field and the reason."""
    line = fault(tmp_path, toml)
    assert said in line
    assert "accounts.toml" in line
    assert "s3cret" not in line


def test_a_file_that_is_not_there_is_a_fault_of_its_variable(tmp_path: Path) -> None:
    """The message about a missing file names the variable and the path."""
    with pytest.raises(UsageError, match=r"KONVOX_ACCOUNTS_FILE: .*gone\.toml cannot be read"):
        load_accounts(Settings(accounts_file=tmp_path / "gone.toml"))


def test_a_command_picks_an_account_by_name(tmp_path: Path) -> None:
    """Without a name a command takes the default account; an unknown or a missing name is an error."""
    several = settings(tmp_path, f'[acme]\nhook_tokens = ["{TOKEN}"]')
    assert settings_of_account(several, "acme").hook_tokens == [SecretStr(TOKEN)]
    with pytest.raises(UsageError, match="--account"):
        settings_of_account(several, None)
    with pytest.raises(UsageError, match="there are acme"):
        settings_of_account(several, "globex")


def test_the_file_is_found_by_the_former_name_of_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """KONVOX_ENDPOINTS_FILE is read if KONVOX_ACCOUNTS_FILE is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KONVOX_ENDPOINTS_FILE", "old.toml")
    assert load_settings().accounts_file == Path("old.toml")
    monkeypatch.setenv("KONVOX_ACCOUNTS_FILE", "new.toml")
    assert load_settings().accounts_file == Path("new.toml")
    assert unknown_variables() == []
