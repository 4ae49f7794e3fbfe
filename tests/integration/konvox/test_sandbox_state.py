"""Tests of a sandbox's state file: it survives every kind of end, and no other file is changed."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from konvox.client import KonvoxClient
from konvox.sandbox import SandboxConfig, create_sandbox
from konvox.sandbox.state import SandboxState, open_storage
from konvox.sandbox.storage import StateFileError, Storage
from tests.support.processes import OurProcess

FULL, READ = "kvx_live_full", "kvx_live_read"


async def fill(konvox: KonvoxClient) -> None:
    """Make at least one record of each kind, with enrollments."""
    await konvox.contacts.create(email="ada@example.com", first_name="Ada")
    await konvox.contacts.create(email="bob@example.com")
    sender = await konvox.sender_identities.create(local_part="ada", display_name="Ada")
    await konvox.connections.create(name="Mine", platform="linkedin", connection_method="oauth_page")
    await konvox.webhooks.register(url="https://a.example/hook", events=["new.one", "new.two"])
    for name in ("kept", "gone", "draft"):
        campaign = await konvox.campaigns.create(name=name, channel="email", sender_identity_id=sender.id)
        if name != "draft":
            await konvox.campaigns.update(campaign.id, status="active")
        if name == "gone":
            await konvox.campaigns.delete(campaign.id)


async def everything(konvox: KonvoxClient) -> list[Any]:
    """All records that the API lists."""
    return [
        (await resource.list_page()).items
        for resource in (
            konvox.campaigns,
            konvox.contacts,
            konvox.sender_identities,
            konvox.connections,
            konvox.webhooks,
        )
    ]


def config(path: Path) -> SandboxConfig:
    """The configuration with this state file."""
    return SandboxConfig(full_key=FULL, read_key=READ, state_file=path)


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """A restart keeps all records in order; only the owner can read the file, and no other file remains."""
    path = tmp_path / "state.db"
    async with (
        TestServer(create_sandbox(config(path))) as server,
        KonvoxClient(str(server.make_url("/")), FULL) as konvox,
    ):
        await fill(konvox)
        before = await everything(konvox)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    async with (
        TestServer(create_sandbox(config(path))) as server,
        KonvoxClient(str(server.make_url("/")), FULL) as konvox,
    ):
        assert await everything(konvox) == before
        assert [campaign.name for campaign in before[0]] == ["draft", "kept"]
        assert before[0][1].targets_by_state == {"active": 2, "replied": 0, "unsubscribed": 0}
        assert (await konvox.contacts.create(email="ADA@example.com")).first_name == "Ada"


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """After a kill right after an answer, the next start has all records."""
    path = tmp_path / "state.db"
    arguments = ("sandbox", "--port", "0", "--full-key", FULL, "--read-key", READ, "--state", str(path))
    async with await OurProcess.start(*arguments, env={}, cwd=tmp_path) as sandbox:
        url = (await sandbox.said(lambda line: "sandbox" in line, "its URL"))["sandbox"]
        async with KonvoxClient(url, FULL) as konvox:
            await fill(konvox)
            before = await everything(konvox)
        sandbox.process.kill()
        await sandbox.ended()
    async with await OurProcess.start(*arguments, env={}, cwd=tmp_path) as sandbox:
        url = (await sandbox.said(lambda line: "sandbox" in line, "its URL"))["sandbox"]
        async with KonvoxClient(url, READ) as konvox:
            assert await everything(konvox) == before
        assert await sandbox.terminate() == 0


async def test_a_second_sandbox_is_refused(tmp_path: Path) -> None:
    """A second sandbox with the same file ends with exit code 2 and a hint, and the first keeps running."""
    path = tmp_path / "state.db"
    storage, state = open_storage(path)
    async with await OurProcess.start("sandbox", "--port", "0", "--state", str(path), env={}, cwd=tmp_path) as second:
        assert await second.ended() == 2
    assert "another sandbox has it open" in second.stderr
    assert "Traceback" not in second.stderr
    state.add_webhook(url="https://a.example/", events=["a.b"], active=True)
    state.commit()
    storage.close()


def refusal(path: Path) -> str:
    """The message about a file that cannot be used."""
    with pytest.raises(StateFileError) as caught:
        open_storage(path)
    return str(caught.value)


def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    """A text, another program's database, a later version and a missing folder are refused and not changed."""
    text = tmp_path / "notes.txt"
    text.write_text("my notes " * 1000)
    assert "another program's file" in refusal(text)
    assert text.read_text() == "my notes " * 1000
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE records (id)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    assert "another program's database" in refusal(other)
    assert other.read_bytes() == before
    newer = tmp_path / "newer.db"
    Storage(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "version 99" in refusal(newer)
    assert "No such file" in refusal(tmp_path / "nowhere" / "state.db")


@pytest.mark.parametrize(
    ("fields", "message"), [('{"id": "a", "novel": 1}', "does not know"), ("{", "damaged"), ("7", "damaged")]
)
def test_records_that_cannot_be_read_are_reported(tmp_path: Path, fields: str, message: str) -> None:
    """A state file with records that cannot be read is refused as a whole."""
    path = tmp_path / "state.db"
    Storage(path).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO records (kind, id, fields) VALUES ('contact', 'a', ?)", (fields,))
    connection.commit()
    connection.close()
    assert message in refusal(path)


def test_without_a_commit_nothing_is_kept(tmp_path: Path) -> None:
    """A change without a commit, which was not answered, is not in the file."""
    path = tmp_path / "state.db"
    storage, state = open_storage(path)
    state.add_webhook(url="https://a.example/", events=["a.b"], active=True)
    state.commit()
    state.add_webhook(url="https://b.example/", events=["a.b"], active=True)
    storage._connection.rollback()
    storage.close()
    storage, again = open_storage(path)
    assert [webhook.url for webhook in again.webhooks] == ["https://a.example/"]
    assert isinstance(again, SandboxState)
    storage.close()
