"""The pure parts of the doctor, and its checks of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from konvox_hooks.config.load import examine_settings
from konvox_hooks.config.settings import Settings
from konvox_hooks.doctor import examination
from konvox_hooks.doctor.examination import admit, examine
from konvox_hooks.doctor.findings import Check, Finding, Findings, Subject, ok
from konvox_hooks.doctor.local import check_data_folder, check_settings, check_way_in
from konvox_hooks.doctor.store import compare_clocks, judge_version

TOKEN = "a-token-0123456789"
SECRET = "a-signing-secret"


async def found(check: Check, subject: Subject) -> list[Finding]:
    """All that a check finds."""
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
        ({}, "warning", "the server does not tell it"),
    ],
)
def test_versions(facts: dict[str, str], state: str, message: str) -> None:
    """What is too old for our scripts is a fault."""
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
    """Some difference is the network's; more is a warning that says which is late."""
    finding = compare_clocks(here=100.0, there=there)
    assert finding.state == state
    assert finding.message.startswith(message)


async def test_each_setting_at_fault_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable, what is wrong and no value; the others are read all the same."""
    monkeypatch.setenv("KONVOX_PORT", "abc-secret")
    monkeypatch.setenv("KONVOX_SIGNATURE", "hmac-sha256")
    monkeypatch.setenv("KONVOX_DATA_DIR", "mine")
    subject, none = admit()
    findings = await found(check_settings, subject)
    assert [(finding.state, finding.message.partition(":")[0]) for finding in findings] == [
        ("fault", "KONVOX_SIGNING_SECRETS"),
        ("fault", "KONVOX_PORT"),
    ]
    assert "abc-secret" not in repr(findings)
    assert (subject.settings.data_dir, subject.settings.signature, none) == (Path("mine"), "off", [])


async def test_a_mistyped_variable_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the nearest that there is."""
    monkeypatch.setenv("KONVOX_REDIS_ULR", "redis://elsewhere")
    findings = await found(check_settings, admit()[0])
    assert [(finding.state, finding.hint) for finding in findings] == [
        ("warning", "did you mean KONVOX_REDIS_URL?"),
        ("ok", ""),
    ]


async def test_an_env_file_that_cannot_be_read_is_a_fault(clean_environment: Path) -> None:
    """The environment is examined all the same."""
    (clean_environment / ".env").write_bytes(b"KONVOX_PORT=\xff\n")
    subject, findings = admit()
    assert [(finding.check, finding.state) for finding in findings] == [("settings", "fault")]
    assert subject.settings.port == 8080
    assert {finding.check for finding in await examine(subject)} >= {"handlers", "data folder", "redis", "way in"}


@pytest.mark.parametrize(
    ("fields", "states", "message"),
    [
        ({}, ["fault"], "neither a URL token nor a signature"),
        ({"hook_tokens": TOKEN}, ["ok"], "1 URL token, no signature"),
        ({"signature": "hmac-sha256", "signing_secrets": SECRET}, ["ok"], "no URL token, each delivery signed"),
        (
            {"hook_tokens": f"{TOKEN},{TOKEN}2", "signature": "hmac-sha256", "signing_secrets": SECRET},
            ["ok"],
            "2 URL tokens, each delivery signed (hmac-sha256)",
        ),
    ],
)
async def test_the_way_in(fields: dict[str, str], states: list[str], message: str) -> None:
    """A token, a signature or both; and a token that is worth its name."""
    findings = await found(check_way_in, Subject(Settings.model_validate(fields)))
    assert [finding.state for finding in findings] == states
    assert findings[0].message.startswith(message)
    assert all(finding.hint for finding in findings if finding.state != "ok")


async def test_what_depends_on_a_faulty_setting_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than judged by a default that nobody chose."""
    monkeypatch.setenv("KONVOX_HOOK_TOKENS", "white space")
    monkeypatch.setenv("KONVOX_REDIS_URL", "http://wrong")
    monkeypatch.setenv("KONVOX_PUBLIC_URL", "ftp://wrong")
    findings = {finding.check: finding for finding in await examine(admit()[0])}
    for check, variable in (("way in", "HOOK_TOKENS"), ("redis", "REDIS_URL"), ("public url", "PUBLIC_URL")):
        assert findings[check].state == "warning"
        assert f"not checked: KONVOX_{variable}" in findings[check].message


async def test_the_data_folder_need_not_exist(tmp_path: Path) -> None:
    """It is not made by being looked at."""
    [finding] = await found(check_data_folder, Subject(Settings(data_dir=tmp_path / "a" / "b")))
    assert finding.state != "fault"
    assert "can be made" in finding.message
    assert list(tmp_path.iterdir()) == []


async def test_a_data_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    """Here because a file is in its way."""
    (tmp_path / "file").touch()
    [finding] = await found(check_data_folder, Subject(Settings(data_dir=tmp_path / "file" / "data")))
    assert (finding.state, "cannot be written" in finding.message) == ("fault", True)
    assert "KONVOX_DATA_DIR" in finding.hint


@pytest.mark.parametrize(("free_bytes", "state"), [(10**6, "fault"), (10**9 // 2, "warning"), (10**10, "ok")])
async def test_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, state: str) -> None:
    """What will soon be full is a warning, what is full a fault."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))
    [finding] = await found(check_data_folder, Subject(Settings(data_dir=tmp_path)))
    assert finding.state == state
    assert list(tmp_path.iterdir()) == []


async def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had found stays, its error's text does not show, and the others go on."""

    async def broken(_: Subject) -> Findings:
        """Find something, and break."""
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


async def test_a_file_of_endpoints_that_is_wrong_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of it."""
    (tmp_path / "accounts.toml").write_text("[acme]\n[other]\nsignature = 'hmac-sha256'\n")
    monkeypatch.setenv("KONVOX_ACCOUNTS_FILE", "accounts.toml")
    findings = [finding for finding in await examine(admit()[0]) if finding.check == "accounts"]
    assert [finding.state for finding in findings] == ["fault", "fault"]
    assert ["[acme]" in findings[0].message, "[other]" in findings[1].message] == [True, True]
