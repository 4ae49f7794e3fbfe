"""Tests of the settings: their sources, which values are refused with which message, and that no secret is shown."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from konvox.urls import MASK
from konvox_hooks.config.load import known_variables, load_settings, unknown_variables
from konvox_hooks.config.settings import NOT_SET, SECRET_FIELDS, Settings, example_of, variable_of
from konvox_hooks.config.strength import RANDOM_TEXT_COMMAND
from konvox_hooks.errors import UsageError

PROJECT = Path(__file__).parents[3]
TOKEN = "a-token-of-22-letters_"

# What may stand in a variable of the environment: no NUL, no lone surrogate.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
token_texts = st.text("abcXYZ019-_", min_size=16, max_size=50)


def faults(**variables: str) -> list[str]:
    """The lines of the error that these variables cause; their names are without the prefix."""
    environment = {f"KONVOX_{name}": value for name, value in variables.items()}
    with patch.dict("os.environ", environment), pytest.raises(UsageError) as caught:
        load_settings(env_file="none")
    return str(caught.value).splitlines()


def lines_of_faults() -> list[str]:
    """The lines of the error that the current environment causes, if any."""
    try:
        load_settings(env_file="none")
    except UsageError as error:
        return str(error).split("\n")
    return []


def load(**variables: str) -> Settings:
    """The settings that these variables make; their names are without the prefix."""
    with patch.dict("os.environ", {f"KONVOX_{name}": value for name, value in variables.items()}):
        return load_settings(env_file="none")


def test_everything_has_a_default() -> None:
    """Without any variable, every setting has its documented default."""
    settings = load_settings()
    assert settings == Settings()
    assert (settings.host, settings.port, settings.admin_port) == ("127.0.0.1", 8080, 8081)
    assert (settings.lease_seconds, settings.concurrency, settings.stop_seconds) == (15.0, 100, 20.0)
    assert settings.max_body_bytes == 1_048_576
    assert settings.dedupe_seconds == settings.log_retention_seconds == 604_800
    assert settings.data_dir == Path(".konvox-hooks")
    assert {value.source for value in settings.effective()} == {"default"}


def test_settings_made_by_hand_read_nothing(clean_environment: Path) -> None:
    """The constructor reads neither the environment nor `.env`."""
    (clean_environment / ".env").write_text("KONVOX_PORT=1\n")
    with patch.dict("os.environ", {"KONVOX_PORT": "2"}):
        assert Settings(host="::1").port == 8080


def test_settings_do_not_change() -> None:
    """Settings are frozen."""
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Settings(), "port", 1)  # noqa: B010 - written as an assignment, mypy would refuse it first


def test_the_environment_wins_over_dotenv(clean_environment: Path) -> None:
    """The environment takes precedence over `.env`, and `effective` names the source."""
    (clean_environment / ".env").write_text("KONVOX_PORT=1\nKONVOX_HOST=::1\nOTHER=x\n")
    with patch.dict("os.environ", {"KONVOX_PORT": "2"}):
        settings = load_settings()
    assert (settings.host, settings.port) == ("::1", 2)
    sources = {value.variable: value.source for value in settings.effective()}
    assert sources["KONVOX_PORT"] == "environment"
    assert sources["KONVOX_HOST"] == ".env"
    assert sources["KONVOX_ADMIN_PORT"] == "default"


def test_an_empty_variable_counts_as_not_set(clean_environment: Path) -> None:
    """An empty or blank variable is ignored: `.env` or the default applies."""
    (clean_environment / ".env").write_text("KONVOX_PORT=1\nKONVOX_API_KEY=\n")
    with patch.dict("os.environ", {"KONVOX_PORT": "", "KONVOX_HOST": "  "}):
        settings = load_settings()
    assert (settings.port, settings.host, settings.api_key) == (1, "127.0.0.1", None)


def test_a_dotenv_that_cannot_be_read_is_a_fault(clean_environment: Path) -> None:
    """The message about a `.env` that is no text names the file."""
    (clean_environment / ".env").write_bytes(b"KONVOX_API_KEY=\xff\xfe")
    with pytest.raises(UsageError, match=r"^\.env cannot be read: it is not UTF-8$"):
        load_settings()


def test_lists_are_separated_by_commas() -> None:
    """Lists are separated by commas; blanks around parts and empty parts are ignored."""
    settings = load(COMPANY_IDS=" a, b ,,c,", HANDLERS="one.py", HOOK_TOKENS=f"{TOKEN}1,{TOKEN}2")
    assert settings.company_ids == ["a", "b", "c"]
    assert settings.handlers == ["one.py"]
    assert [token.get_secret_value() for token in settings.hook_tokens] == [f"{TOKEN}1", f"{TOKEN}2"]


@given(st.lists(st.text("abc 019._/", min_size=1).map(str.strip).filter(bool), max_size=6))
def test_any_list_comes_back_as_it_was(parts: list[str]) -> None:
    """Every list that is joined by commas and blanks is read back unchanged."""
    assert load(HANDLERS=" , ".join(parts)).handlers == parts


@given(st.lists(token_texts, min_size=1, max_size=4))
def test_good_tokens_are_taken(tokens: list[str]) -> None:
    """Every token of URL-safe characters is accepted, in order."""
    settings = load(HOOK_TOKENS=",".join(tokens))
    settings.require_authentication()
    assert [token.get_secret_value() for token in settings.hook_tokens] == tokens


@pytest.mark.parametrize(
    "bad", ["with?a-question", "with#a-hash", "with/a/slash/in/it/somewhere", "with blanks in between it", "ü" * 20]
)
def test_a_bad_token_is_explained_and_not_shown(bad: str) -> None:
    """The message about a bad token says which token it is and how to make a good one, but does not show it."""
    [line] = faults(HOOK_TOKENS=f"{TOKEN},{bad}")
    assert line.startswith("KONVOX_HOOK_TOKENS: token 2 of 2 has characters other than")
    assert RANDOM_TEXT_COMMAND in line
    assert bad not in line
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("API_URL", "app.example.com", "must be a URL that begins with https://"),
        ("API_KEY", "kvx live", "neither white space nor"),
        ("PUBLIC_URL", "http://hooks.example.com", "must begin with https://"),
        ("SIGNATURE", "md5", "should be 'off', 'hmac-sha256'"),
        ("SIGNATURE", "standard-webhook", "this should be"),
        ("SIGNATURE_HEADER", "X Konvox", "not a header's name"),
        ("REDIS_URL", "http://h", "must begin with redis://"),
        ("DURABILITY", "maybe", "should be 'fsync', 'replicas' or 'memory'"),
        ("PORT", "http", "valid integer"),
        ("PORT", "-1", "greater than or equal to 0"),
        ("ADMIN_PORT", "65536", "less than or equal to 65535"),
        ("LOG_LEVEL", "loud", "should be 'debug'"),
        ("LOG_FORMAT", "text", "should be 'auto', 'json' or 'console'"),
        ("MAX_BODY_BYTES", "0", "greater than 0"),
        ("DEDUPE_SECONDS", "0", "greater than 0"),
        ("LEASE_SECONDS", "0.5", "greater than or equal to 1"),
        ("LEASE_SECONDS", "inf", "finite"),
        ("CONCURRENCY", "1.5", "valid integer"),
        ("LOG_RETENTION_SECONDS", "-5", "greater than 0"),
        ("STOP_SECONDS", "0", "greater than 0"),
        ("STOP_SECONDS", "nan", "finite"),
    ],
)
def test_each_fault_names_the_variable_what_is_wrong_and_what_is_right(name: str, value: str, fault: str) -> None:
    """A fault is one line with the variable, the reason and an example."""
    [line] = faults(**{name: value})
    assert line.startswith(f"KONVOX_{name}: ")
    assert fault in line
    assert f"(example: KONVOX_{name}=" in line


def test_all_faults_come_at_once() -> None:
    """Three invalid settings are three lines, in the order of the documentation."""
    lines = faults(STOP_SECONDS="x", PORT="x", API_KEY_FILE="none")
    assert [line.partition(":")[0] for line in lines] == ["KONVOX_API_KEY", "KONVOX_PORT", "KONVOX_STOP_SECONDS"]


@pytest.mark.parametrize(
    "name", [name for name in Settings.model_fields if name not in {"hook_tokens", "signing_secrets"}]
)
def test_every_example_is_right_or_plainly_a_placeholder(name: str) -> None:
    """Each example in a message is valid, or is a placeholder for a secret."""
    example = example_of(name)
    if example.startswith("<"):
        assert name in SECRET_FIELDS
        return
    secrets = {"SIGNING_SECRETS": TOKEN} if name == "signature" else {}
    load(**{name.upper(): example}, **secrets)


def test_a_signature_needs_a_secret() -> None:
    """A signature scheme without secrets is refused; with a secret it is enough to accept requests."""
    [line] = faults(SIGNATURE="hmac-sha256")
    assert line.startswith("KONVOX_SIGNING_SECRETS: KONVOX_SIGNATURE=hmac-sha256 needs at least one secret")
    load(SIGNATURE="hmac-sha256", SIGNING_SECRETS=TOKEN).require_authentication()


def test_without_a_way_in_it_says_how_to_make_one() -> None:
    """Without a token and a signature, the settings are refused with the command that makes a token."""
    with pytest.raises(UsageError, match="neither a URL token nor a signature") as caught:
        load(SIGNING_SECRETS=TOKEN).require_authentication()
    assert RANDOM_TEXT_COMMAND in str(caught.value)
    assert "KONVOX_HOOK_TOKENS" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("api_key", "kvx_live_abc\n", "kvx_live_abc"),
        ("redis_url", " redis://:pw@h:1/0\n", "redis://:pw@h:1/0"),
        ("hook_tokens", f"{TOKEN}1,\n{TOKEN}2\n", [f"{TOKEN}1", f"{TOKEN}2"]),
        ("signing_secrets", f"{TOKEN}\n{TOKEN}2\r\n", [TOKEN, f"{TOKEN}2"]),
    ],
)
def test_a_secret_may_stand_in_a_file(tmp_path: Path, name: str, content: str, expected: object) -> None:
    """`<VARIABLE>_FILE` is read without the white space around its content, and named as the source."""
    path = tmp_path / "secret"
    path.write_bytes(content.encode())
    settings = load(**{f"{name.upper()}_FILE": str(path)})
    value = getattr(settings, name)
    revealed = [part.get_secret_value() for part in value] if isinstance(value, list) else value.get_secret_value()
    assert revealed == expected
    assert [each.source for each in settings.effective() if each.variable == variable_of(name)] == ["file"]


def test_a_secret_file_that_is_not_there_is_a_fault() -> None:
    """The message about a missing secret file names the variable, but not the path, which may be the secret itself."""
    [line] = faults(API_KEY_FILE="/kvx_live_oops")
    assert line.startswith("KONVOX_API_KEY: the file that KONVOX_API_KEY_FILE names cannot be read: No such file")
    assert "oops" not in line


@pytest.mark.parametrize(("content", "fault"), [(b" \n", "is empty"), (b"\xff\xfe", "cannot be read: it is not UTF-8")])
def test_a_secret_file_without_a_secret_is_a_fault(tmp_path: Path, content: bytes, fault: str) -> None:
    """An empty secret file does not remove a secret, and a binary file holds none."""
    (tmp_path / "secret").write_bytes(content)
    [line] = faults(SIGNING_SECRETS_FILE=str(tmp_path / "secret"), SIGNATURE="hmac-sha256")
    assert fault in line


def test_a_secret_and_its_file_exclude_each_other(tmp_path: Path, clean_environment: Path) -> None:
    """A secret and its file in one source are a fault; the environment's variable overrides a file in `.env`."""
    (tmp_path / "secret").write_text("kvx_from_file")
    [line] = faults(API_KEY="kvx_direct", API_KEY_FILE=str(tmp_path / "secret"))
    assert line.startswith("KONVOX_API_KEY: KONVOX_API_KEY_FILE is set as well: keep one of the two")
    (clean_environment / ".env").write_text(f"KONVOX_API_KEY_FILE={tmp_path / 'secret'}\n")
    with patch.dict("os.environ", {"KONVOX_API_KEY": "kvx_direct"}):
        key = load_settings().api_key
    assert key is not None
    assert key.get_secret_value() == "kvx_direct"


@given(
    # Letters among the digits: a number may be a default of one of the settings.
    key=st.text("ghjk0123456789", min_size=8).map(lambda text: f"q{text}"),
    token=token_texts,
    secret=st.text("ghjk0123456789", min_size=16).map(lambda text: f"q{text}"),
    password=st.text("ghjk0123456789", min_size=8).map(lambda text: f"q{text}"),
)
def test_no_secret_is_shown(key: str, token: str, secret: str, password: str) -> None:
    """Neither `repr`, `str`, the dump nor `effective` shows any part of a secret."""
    settings = load(
        API_KEY=f"kvx_live_{key}",
        HOOK_TOKENS=f"{token},{token}",
        SIGNATURE="hmac-sha256",
        SIGNING_SECRETS=f"ss{secret}",
        REDIS_URL=f"redis://me:{password}@redis:6379/0",
    )
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {settings.effective()}"
    for hidden in (key, token, secret, password):
        assert hidden not in shown
    values = {value.variable: value.value for value in settings.effective()}
    assert values["KONVOX_API_KEY"] == MASK
    assert values["KONVOX_HOOK_TOKENS"] == f"{MASK} (2)"
    assert values["KONVOX_SIGNING_SECRETS"] == f"{MASK} (1)"
    assert values["KONVOX_REDIS_URL"] == f"redis://{MASK}@redis:6379/0"


@given(st.sampled_from(sorted(known_variables())), texts.map(lambda text: f"#{text}#"))
def test_no_fault_holds_a_value(variable: str, value: str) -> None:
    """Every value of a variable is accepted, or refused with lines that do not quote it."""
    with patch.dict("os.environ", {variable: value}):
        lines = lines_of_faults()
    assert all(re.match(r"KONVOX_[A-Z_]+: ", line) for line in lines)
    assert not [line for line in lines if len(value) >= 6 and value in line]


@given(st.integers(-10, 70_000))
def test_ports_are_ports(port: int) -> None:
    """A port from 0 to 65535 is accepted, and any other value is refused."""
    if 0 <= port <= 65_535:
        assert load(PORT=str(port), ADMIN_PORT=str(port)).port == port
    else:
        assert len(faults(PORT=str(port), ADMIN_PORT=str(port))) == 2


def test_mistyped_variables_are_found(clean_environment: Path) -> None:
    """Variables that nothing reads are found in the environment and in `.env`, but not other programs' variables."""
    (clean_environment / ".env").write_text("KONVOX_HOOK_TOKEN=x\n")
    known = {"KONVOX_PORT": "1", "KONVOX_API_KEY_FILE": "x", "KONVOXES": "x"}
    with patch.dict("os.environ", {**known, "KONVOX_HOST_FILE": "x", "konvox_port": "1"}):
        assert unknown_variables() == ["KONVOX_HOOK_TOKEN", "KONVOX_HOST_FILE", "konvox_port"]


def test_the_example_file_is_complete_and_right() -> None:
    """`deploy/env.example` lists every setting in order, with its description and its default, all commented out."""
    text = (PROJECT / "deploy" / "env.example").read_text(encoding="utf-8")
    blocks = re.findall(r"^# (.+)\n(?:# (?:For example|Make one): .+\n)?#(KONVOX_[A-Z_]+)=(.*)$", text, re.MULTILINE)
    expected = [
        (
            Settings.model_fields[name].description,
            value.variable,
            "" if value.value == NOT_SET else value.value,
        )
        for name, value in zip(Settings.model_fields, Settings().effective(), strict=True)
    ]
    assert blocks == expected
    assert all(line.startswith("#") for line in text.splitlines() if line)
