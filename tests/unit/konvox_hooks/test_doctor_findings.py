"""Tests of the doctor's pure parts, and of its checks of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from konvox_hooks.config.load import examine_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.doctor import examination
from konvox_hooks.doctor.examination import examine, read_settings
from konvox_hooks.doctor.findings import Check, Finding, Findings, Subject, ok
from konvox_hooks.doctor.local import check_authentication, check_data_folder, check_settings
from konvox_hooks.doctor.store import compare_clocks, judge_version

TOKEN = "a-token-0123456789"
SECRET = "a-signing-secret"


async def found(check: Check, subject: Subject) -> list[Finding]:
    """All findings of a check."""
    return [finding async for finding in check(subject)]


@pytest.mark.parametrize(
    ("facts", "state", "message"),
    [
        ({"redis_version": "7.2.4", "valkey_version": "9.1.0"}, "ok", "Valkey 9.1.0"),
        ({"redis_version": "8.0.1"}, "ok", "Redis 8.0.1"),
        ({"redis_version": "7.0.0"}, "ok", "Redis 7.0.0"),
        (
            {"redis_version": "6.2.14"},
            "fault",
            "Redis 6.2.14 is too old: its scripts cannot run while its memory is full",
        ),
        ({}, "warning", "the server does not say it"),
    ],
)
def test_versions(facts: dict[str, str], state: str, message: str) -> None:
    """A server that is too old for our scripts is a fault."""
    finding = judge_version(facts)
    assert finding.state == state
    assert finding.message.startswith(message)


@pytest.mark.parametrize(
    ("there", "state", "message"),
    [
        (100.0, "ok", "the same time"),
        (101.9, "ok", "the same time"),
        (160.0, "warning", "60.0 s ahead of"),
        (40.0, "warning", "60.0 s behind"),
    ],
)
def test_clocks(there: float, state: str, message: str) -> None:
    """A small difference between the clocks is accepted; a larger one is a warning that says which clock is late."""
    finding = compare_clocks(here=100.0, there=there)
    assert finding.state == state
    assert finding.message.startswith(message)


async def test_each_setting_at_fault_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each invalid setting is one line with variable and reason, but no value; valid settings are still read."""
    monkeypatch.setenv("KONVOX_PORT", "abc-secret")
    monkeypatch.setenv("KONVOX_SIGNATURE", "hmac-sha256")
    monkeypatch.setenv("KONVOX_DATA_DIR", "mine")
    subject, none = read_settings()
    findings = await found(check_settings, subject)
    assert [(finding.state, finding.message.partition(":")[0]) for finding in findings] == [
        ("fault", "KONVOX_SIGNING_SECRETS"),
        ("fault", "KONVOX_PORT"),
    ]
    assert "abc-secret" not in repr(findings)
    assert (subject.settings.data_dir, subject.settings.signature, none) == (Path("mine"), "off", [])


async def test_a_mistyped_variable_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped variable is a warning that names the nearest setting."""
    monkeypatch.setenv("KONVOX_REDIS_ULR", "redis://elsewhere")
    findings = await found(check_settings, read_settings()[0])
    assert [(finding.state, finding.hint) for finding in findings] == [
        ("warning", "did you mean KONVOX_REDIS_URL?"),
        ("ok", ""),
    ]


async def test_an_env_file_that_cannot_be_read_is_a_fault(clean_environment: Path) -> None:
    """If `.env` cannot be read, the environment is still examined."""
    (clean_environment / ".env").write_bytes(b"KONVOX_PORT=\xff\n")
    subject, findings = read_settings()
    assert [(finding.check, finding.state) for finding in findings] == [("settings", "fault")]
    assert subject.settings.port == 8080
    assert {finding.check for finding in await examine(subject)} >= {
        "handlers",
        "data folder",
        "redis",
        "authentication",
    }


@pytest.mark.parametrize(
    ("fields", "states", "message"),
    [
        ({}, ["fault"], "neither a URL token nor a signature"),
        ({"hook_tokens": TOKEN}, ["ok"], "1 URL token, no signature"),
        ({"signature": "hmac-sha256", "signing_secrets": SECRET}, ["ok"], "no URL token, each request signed"),
        (
            {"hook_tokens": f"{TOKEN},{TOKEN}2", "signature": "hmac-sha256", "signing_secrets": SECRET},
            ["ok"],
            "2 URL tokens, each request signed (hmac-sha256)",
        ),
    ],
)
async def test_authentication(fields: dict[str, str], states: list[str], message: str) -> None:
    """A token, a signature or both are accepted; a weak token is a warning, and none of them a fault."""
    findings = await found(check_authentication, Subject(Settings.model_validate(fields)))
    assert [finding.state for finding in findings] == states
    assert findings[0].message.startswith(message)
    assert all(finding.hint for finding in findings if finding.state != "ok")


async def test_what_depends_on_a_faulty_setting_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that depends on an invalid setting is not run with the default instead."""
    monkeypatch.setenv("KONVOX_HOOK_TOKENS", "white space")
    monkeypatch.setenv("KONVOX_REDIS_URL", "http://wrong")
    monkeypatch.setenv("KONVOX_PUBLIC_URL", "ftp://wrong")
    findings = {finding.check: finding for finding in await examine(read_settings()[0])}
    for check, variable in (("authentication", "HOOK_TOKENS"), ("redis", "REDIS_URL"), ("public url", "PUBLIC_URL")):
        assert findings[check].state == "warning"
        assert f"not checked: KONVOX_{variable}" in findings[check].message


async def test_the_data_folder_need_not_exist(tmp_path: Path) -> None:
    """The check does not make the data folder."""
    [finding] = await found(check_data_folder, Subject(Settings(data_dir=tmp_path / "a" / "b")))
    assert finding.state != "fault"
    assert "can be made" in finding.message
    assert list(tmp_path.iterdir()) == []


async def test_a_data_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    """A data folder that cannot be written, here because a file is in its place, is a fault."""
    (tmp_path / "file").touch()
    [finding] = await found(check_data_folder, Subject(Settings(data_dir=tmp_path / "file" / "data")))
    assert (finding.state, "cannot be written" in finding.message) == ("fault", True)
    assert "KONVOX_DATA_DIR" in finding.hint


@pytest.mark.parametrize(("free_bytes", "state"), [(10**6, "fault"), (10**9 // 2, "warning"), (10**10, "ok")])
async def test_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, state: str) -> None:
    """A disk that is nearly full is a warning, and a full one a fault."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))
    [finding] = await found(check_data_folder, Subject(Settings(data_dir=tmp_path)))
    assert finding.state == state
    assert list(tmp_path.iterdir()) == []


async def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a check fails, its earlier findings stay, the error's text is not shown, and the other checks run."""

    async def broken(_: Subject) -> Findings:
        """Yield a finding, and raise."""
        yield ok("redis", "found before")
        raise ZeroDivisionError("a-secret")

    monkeypatch.setattr(examination, "check_store", broken)
    findings = await examine(Subject(examine_settings()[0]))
    at = [finding.check for finding in findings].index("redis")
    assert findings[at].message == "found before"
    assert findings[at + 1].state == "fault"
    assert findings[at + 1].message == "the check itself failed (ZeroDivisionError)"
    assert findings[-1].check == "public url"
    assert "a-secret" not in repr(findings)


async def test_a_wrong_accounts_file_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault of the accounts file is a finding."""
    (tmp_path / "accounts.toml").write_text("[acme]\n[other]\nsignature = 'hmac-sha256'\n")
    monkeypatch.setenv("KONVOX_ACCOUNTS_FILE", "accounts.toml")
    findings = [finding for finding in await examine(read_settings()[0]) if finding.check == "accounts"]
    assert [finding.state for finding in findings] == ["fault", "fault"]
    assert ["[acme]" in findings[0].message, "[other]" in findings[1].message] == [True, True]
