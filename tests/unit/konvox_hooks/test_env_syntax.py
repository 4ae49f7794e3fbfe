"""Tests of what a line of `.env` means: a secret is taken literally."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox_hooks.config.env_syntax import read_variables
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.sources import export_env_file


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("pa$$word", "pa$$word"),
        ("a${HOME}b", "a${HOME}b"),
        ("${UNSET:-other}", "${UNSET:-other}"),
        ("a#b", "a#b"),
        ("a b #c", "a b #c"),
        ("#a", "#a"),
        ("a\\nb\\\\c", "a\\nb\\\\c"),
        ("a\"b'c", "a\"b'c"),
        ('"abc', '"abc'),
        ("'abc", "'abc"),
        ('"a"b', '"a"b'),
        ("'it's'", "it's"),
        ("'a${HOME}#b \\n'", "a${HOME}#b \\n"),
        ('"a${HOME} #b \\n\\t"', "a${HOME} #b \\n\\t"),
        ('"say \\"x\\""', 'say "x"'),
        ("'abc' # production", "abc"),
        ("a=b==", "a=b=="),
        ("  padded  ", "padded"),
        ('"two\nlines"', "two\nlines"),
        ("`id`", "`id`"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "export "])
def test_a_secret_is_taken_literally(written: str, secret: str, prefix: str) -> None:
    """Nothing in a secret is interpolated, cut off or decoded, and the lines around it are read as ever."""
    text = f"BEFORE=1 # comment\n{prefix}SECRET={written}\nAFTER='x'\n"
    assert read_variables(text, ["SECRET"]) == {"BEFORE": "1", "SECRET": secret, "AFTER": "x"}


@given(secret=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1))
def test_an_unquoted_secret_is_what_stands_there(secret: str) -> None:
    """A secret without quotes around it is read as it is, whatever its characters are."""
    if secret[0] not in "'\"":
        assert read_variables(f"SECRET={secret}\n", ["SECRET"]) == {"SECRET": secret}


def test_the_settings_get_the_secret_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings hold the secrets of `.env` literally; other values may be followed by a comment."""
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / ".env"
    path.write_text('KONVOX_SIGNING_SECRETS=a-long-${HOME} #secret"\nKONVOX_PORT=9000 # free\nKONVOX_API_KEY=$x"\\\n')
    settings = load_settings(env_file=path)
    assert [secret.get_secret_value() for secret in settings.signing_secrets] == ['a-long-${HOME} #secret"']
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == '$x"\\'
    assert settings.port == 9000


def test_variables_of_handlers_are_not_interpolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler finds its own variables of `.env` without interpolation."""
    monkeypatch.setenv("CRM_KEY_OF_THE_TESTS", "")
    monkeypatch.delenv("CRM_KEY_OF_THE_TESTS")
    path = tmp_path / ".env"
    path.write_text("CRM_KEY_OF_THE_TESTS=a${HOME}$b\n")
    export_env_file(path)
    import os  # noqa: PLC0415

    assert os.environ["CRM_KEY_OF_THE_TESTS"] == "a${HOME}$b"
