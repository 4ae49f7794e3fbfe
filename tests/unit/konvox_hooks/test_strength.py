"""Short tokens and secrets are refused, wherever they come from, and nothing of them is shown."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import ValidationError

from konvox_hooks.config.accounts import load_accounts
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.config.strength import RANDOM_TEXT_COMMAND
from konvox_hooks.errors import UsageError

TOKEN = "a-token-of-22-letters_"


def faults(**variables: str) -> list[str]:
    """The lines of the fault that these variables (without prefix) make."""
    environment = {f"KONVOX_{name}": value for name, value in variables.items()}
    with patch.dict("os.environ", environment), pytest.raises(UsageError) as caught:
        load_settings(env_file="none")
    return str(caught.value).splitlines()


def lines_of_faults() -> list[str]:
    """What is wrong in the environment as it is, if anything."""
    try:
        load_settings(env_file="none")
    except UsageError as error:
        return str(error).split("\n")
    return []


def test_a_short_token_is_refused_like_a_weak_password() -> None:
    """A guessed token lets anybody deliver, so a short one is refused; the fault says which, and how to make one."""
    [line] = faults(HOOK_TOKENS=f"{TOKEN},short")
    assert line.startswith("KONVOX_HOOK_TOKENS: token 2 of 2 is shorter than 16 characters")
    assert RANDOM_TEXT_COMMAND in line


@pytest.mark.parametrize(("characters", "weak"), [(1, True), (15, True), (16, False), (17, False)])
def test_a_token_of_sixteen_characters_is_not_weak(characters: int, weak: bool) -> None:
    """A token of 15 characters is weak, and one of 16 is not."""
    with patch.dict("os.environ", {"KONVOX_HOOK_TOKENS": "t" * characters}):
        assert bool(lines_of_faults()) is weak


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        ("s" * 15, True),
        ("s" * 16, False),
        ("whsec_" + "YWFh" * 5, True),  # 15 bytes
        ("whsec_" + "YWFh" * 5 + "YQ==", False),  # 16 bytes
        ("whsec_", True),
        ("whsec_" + "!" * 15, True),
    ],
)
@pytest.mark.parametrize("scheme", ["off", "hmac-sha256", "timestamped"])
def test_a_short_secret_is_refused_like_a_weak_password(secret: str, weak: bool, scheme: str) -> None:
    """A signing secret of 15 characters is refused; one that is written in base64 counts as what it stands for."""
    with patch.dict("os.environ", {"KONVOX_SIGNING_SECRETS": f"{TOKEN},{secret}", "KONVOX_SIGNATURE": scheme}):
        found = lines_of_faults()
    assert bool(found) is weak
    assert all(line.startswith("KONVOX_SIGNING_SECRETS: secret 2 of 2 ") for line in found)
    assert all(RANDOM_TEXT_COMMAND in line and secret not in line for line in found)


@pytest.mark.parametrize("empty", ["", " ", "\t" * 20])
@pytest.mark.parametrize("field", ["hook_tokens", "signing_secrets"])
def test_an_empty_secret_is_refused_however_the_settings_are_made(field: str, empty: str) -> None:
    """Settings that are made by hand are checked in the same way."""
    with pytest.raises(ValidationError, match="is empty, and can be guessed"):
        Settings.model_validate({field: [TOKEN, empty]})


@pytest.mark.parametrize("place", ["environment", ".env", "file"])
def test_a_short_secret_is_refused_wherever_it_comes_from(tmp_path: Path, place: str) -> None:
    """The environment, `.env` and a file of its own make no difference."""
    (tmp_path / "secret").write_text("short\n")
    environment = {"KONVOX_SIGNATURE": "hmac-sha256"}
    variables = {"environment": {"KONVOX_SIGNING_SECRETS": "short"}, ".env": {}}.get(
        place, {"KONVOX_SIGNING_SECRETS_FILE": str(tmp_path / "secret")}
    )
    (tmp_path / ".env").write_text("KONVOX_SIGNING_SECRETS=short\n" if place == ".env" else "")
    with patch.dict("os.environ", environment | variables), pytest.raises(UsageError, match="shorter than 16"):
        load_settings(env_file=tmp_path / ".env")


@pytest.mark.parametrize("name", ["hook_tokens", "signing_secrets"])
@pytest.mark.parametrize(
    ("value", "said"), [('["short"]', "is shorter than 16"), ('[""]', "is empty"), ('"short"', "is shorter than 16")]
)
def test_an_accounts_file_is_no_way_around_it(tmp_path: Path, name: str, value: str, said: str) -> None:
    """An account's tokens and secrets are checked like those of the variables."""
    path = tmp_path / "accounts.toml"
    path.write_text(f"[acme]\n{name} = {value}\n")
    with pytest.raises(UsageError, match=rf"\[acme\] {name}: (token|secret) 1 of 1 {said}"):
        load_accounts(Settings(accounts_file=path))


@pytest.mark.parametrize("name", ["hook_tokens", "signing_secrets"])
def test_an_empty_file_of_an_account_is_a_fault(tmp_path: Path, name: str) -> None:
    """It is no silent way to have no token."""
    (tmp_path / "empty").write_text("\n")
    path = tmp_path / "accounts.toml"
    path.write_text(f'[acme]\napi_key = "key"\n{name}_file = "{tmp_path / "empty"}"\n')
    with pytest.raises(UsageError, match=f"{name}_file: the file that it names is empty"):
        load_accounts(Settings(accounts_file=path))
