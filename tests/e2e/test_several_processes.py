"""Tests of `receiver --processes N` and `worker --processes N` with real processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from broker.audit import audit
from konvox.samples import sample_body
from receiver.challenge import CHALLENGE_HEADER, make_challenge
from tests.support.events import admitted
from tests.support.processes import OurProcess
from tests.support.store import RedisClient
from tests.support.workers import until

TOKEN = "a-token-for-the-tests-of-several-processes"


def environment(redis_url: str, **more: str) -> dict[str, str]:
    """The environment of either role, with free ports."""
    return {
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
        **more,
    }


def handler(folder: Path, body: str) -> None:
    """Configure one handler for all events."""
    (folder / "mine.py").write_text(
        f"import asyncio, os\nfrom handlers import on\n\n\n@on('*')\nasync def handle(event, ctx):\n    {body}\n"
    )


async def process_ids(supervisor: OurProcess, role: str, count: int) -> Mapping[str, int]:
    """The ids of its children, by name."""
    names = [f"{role}-{number}" for number in range(1, count + 1)]
    return {name: (await supervisor.logged("child.started", child=name))["process_id"] for name in names}


async def all_ended(children: Mapping[str, int]) -> None:
    """Wait until the processes have ended, which is a little later than the end of their output."""

    def runs(process_id: int) -> bool:
        """Whether the process runs, rather than being a zombie that init has not reaped yet."""
        try:
            return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    async def ended() -> bool:
        """Whether none of the processes runs."""
        return not any(map(runs, children.values()))

    await until(ended)


async def listeners(supervisor: OurProcess, listener: str, count: int) -> set[str]:
    """The URLs of this number of listeners with this name, once all are up."""

    def urls() -> list[str]:
        """The URLs of the listeners that are up."""
        return [
            line["url"]
            for line in supervisor.log
            if (line["event"], line.get("listener")) == ("listener.started", listener)
        ]

    await supervisor.said(lambda _: len(urls()) >= count, f"{count} listeners {listener}")
    return set(urls())


def pending_signals(process: psutil.Process) -> int:
    """The number of signals that are pending for a suspended process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return int(mask, 16).bit_count()


async def _all_stopped(processes: Sequence[psutil.Process]) -> bool:
    return all(process.status() == psutil.STATUS_STOPPED for process in processes)


async def _more_pending(processes: Sequence[psutil.Process], before: Sequence[int]) -> bool:
    return all(pending_signals(process) > count for process, count in zip(processes, before, strict=True))


async def deliver(url: str, number: int) -> None:
    """Deliver an event over a new connection, because the kernel spreads connections."""
    body = sample_body("contact.replied", data={"contactId": f"c{number}", "channel": "email"})
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/hooks/konvox/{TOKEN}", data=body, headers={"Content-Type": "application/json"}) as answer,
    ):
        assert answer.status == 200


async def accepted_by(admin_url: str) -> float:
    """The number of events that one receiver has accepted."""
    async with aiohttp.ClientSession() as session, session.get(f"{admin_url}/metrics") as answer:
        counts = dict(line.split() for line in (await answer.text()).splitlines() if line[0] != "#")
        return float(counts["konvox_receiver_events_accepted_total"])


async def test_receivers_share_one_port(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """Several receivers on one port all get connections, have admin listeners of their own, and end on SIGTERM."""
    command = ("receiver", "--processes", "3")
    async with await OurProcess.start(*command, env=environment(redis_url), cwd=tmp_path) as receiver:
        [url] = await listeners(receiver, "receiver", 3)
        admin_urls = await listeners(receiver, "receiver.admin", 3)
        assert len(admin_urls) == 3
        sent = 0
        while sent == 0 or 0.0 in [await accepted_by(admin) for admin in admin_urls]:
            await deliver(url, sent)
            sent += 1
        assert sum([await accepted_by(admin) for admin in admin_urls]) == sent
        children = await process_ids(receiver, "receiver", 3)
        assert await receiver.terminate() == 0, receiver.stderr
    await all_ended(children)
    assert [line["event"] for line in receiver.log].count("receiver.stopped") == 3
    assert (await audit(server)).accepted == sent


async def test_a_killed_receiver_is_replaced(redis_url: str, tmp_path: Path) -> None:
    """While a killed receiver is replaced the others still accept events, and the new one listens on the same port."""
    command = ("receiver", "--processes", "2")
    async with await OurProcess.start(*command, env=environment(redis_url), cwd=tmp_path) as receiver:
        [url] = await listeners(receiver, "receiver", 2)
        children = await process_ids(receiver, "receiver", 2)
        os.kill(children["receiver-1"], signal.SIGKILL)
        await receiver.logged("child.died", child="receiver-1", exit_code=-signal.SIGKILL)
        for number in range(20):
            await deliver(url, number)
        assert await listeners(receiver, "receiver", 3) == {url}
        for number in range(20, 40):
            await deliver(url, number)
        assert await receiver.terminate() == 0, receiver.stderr


async def test_the_first_has_the_configured_admin_port(redis_url: str, tmp_path: Path) -> None:
    """The first process has the configured admin port, also after a restart, and the others have free ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    handler(tmp_path, "pass")
    env = environment(redis_url, KONVOX_ADMIN_PORT=str(port))
    async with await OurProcess.start("worker", "--processes", "2", env=env, cwd=tmp_path) as worker:
        urls = await listeners(worker, "worker.admin", 2)
        assert f"http://127.0.0.1:{port}" in urls
        os.kill((await process_ids(worker, "worker", 2))["worker-1"], signal.SIGKILL)
        assert await listeners(worker, "worker.admin", 3) == urls
        assert await worker.terminate() == 0, worker.stderr


@pytest.mark.parametrize("ready", ["child.started", "listener.started"])
@pytest.mark.parametrize("role", ["receiver", "worker"])
async def test_nothing_outlives_a_killed_supervisor(role: str, ready: str, redis_url: str, tmp_path: Path) -> None:
    """No child outlives a killed supervisor, not even one that it has just started."""
    handler(tmp_path, "pass")
    command = (role, "--processes", "2")
    async with await OurProcess.start(*command, env=environment(redis_url), cwd=tmp_path) as supervisor:
        await supervisor.logged(ready)
        children = await process_ids(supervisor, role, 2)
        await supervisor.kill()  # waits until nobody holds its stdout and stderr any more
    await all_ended(children)


async def test_a_supervisor_stops_with_its_own_parent(redis_url: str, tmp_path: Path) -> None:
    """`--with-parent` ends a supervisor too, and it stops its children in order."""
    command = ("receiver", "--processes", "2", "--with-parent", "1")
    async with await OurProcess.start(*command, env=environment(redis_url), cwd=tmp_path) as receiver:
        assert await receiver.ended() == 0, receiver.stderr


async def test_workers_in_burst_mode_end_together(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """Workers in burst mode end with exit code 0 once the queue is empty; one that crashes before is started again."""
    handler(tmp_path, "os.path.exists('down') or (open('down', 'w').close(), os._exit(13))")
    await admitted(server, 10)
    env = environment(redis_url, KONVOX_LEASE_SECONDS="1")
    async with await OurProcess.start("worker", "--burst", "--processes", "2", env=env, cwd=tmp_path) as workers:
        assert await workers.ended() == 0, workers.stderr
        await workers.logged("child.died", exit_code=13)
    ledger = await audit(server)
    assert (ledger.delivered, ledger.balanced) == (10, True)


async def test_a_second_signal_is_passed_on(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """The first signal lets handlers finish, and the second makes the workers release their events at once."""
    handler(tmp_path, "ctx.log.info('ran')\n    await asyncio.Event().wait()")
    await admitted(server, 1)
    env = environment(redis_url, KONVOX_STOP_SECONDS="60")
    async with await OurProcess.start("worker", "--processes", "2", env=env, cwd=tmp_path) as workers:
        await workers.logged("ran")
        await listeners(workers, "worker.admin", 2)
        workers.process.terminate()
        await workers.logged("worker.stopping")
        assert await workers.terminate() == 0, workers.stderr
    assert (await audit(server)).pending == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells which signals are pending")
async def test_a_second_signal_is_not_lost_on_a_busy_child(server: RedisClient, redis_url: str, tmp_path: Path) -> None:
    """A busy child that gets the second signal before it has handled the first one handles both."""
    handler(tmp_path, "ctx.log.info('ran')\n    await asyncio.Event().wait()")
    await admitted(server, 1)
    env = environment(redis_url, KONVOX_STOP_SECONDS="60")
    async with await OurProcess.start("worker", "--processes", "2", env=env, cwd=tmp_path) as workers:
        await workers.logged("ran")
        await listeners(workers, "worker.admin", 2)
        children = [psutil.Process(process_id) for process_id in (await process_ids(workers, "worker", 2)).values()]
        for child in children:
            child.suspend()
        await until(partial(_all_stopped, children))
        for _ in range(2):
            before = list(map(pending_signals, children))
            workers.process.terminate()
            await until(partial(_more_pending, children, before))
        for child in children:
            child.resume()
        assert await workers.ended() == 0, workers.stderr
    assert (await audit(server)).pending == 1


async def test_a_port_that_is_taken_is_a_fault(redis_url: str, tmp_path: Path) -> None:
    """A port that another process uses is a fault, because two services must not share one port unnoticed."""
    command = ("receiver", "--processes", "2")
    async with await OurProcess.start(*command, env=environment(redis_url), cwd=tmp_path) as first:
        [url] = await listeners(first, "receiver", 2)
        env = environment(redis_url, KONVOX_PORT=url.rsplit(":", 1)[1])
        async with await OurProcess.start(*command, env=env, cwd=tmp_path) as second:
            assert await second.ended() == 2
        assert "cannot listen on 127.0.0.1" in second.stderr
        assert "set KONVOX_PORT" in second.stderr


async def test_handlers_that_do_not_load_are_a_fault(redis_url: str, tmp_path: Path) -> None:
    """If handlers cannot be loaded, everything ends, and nothing is started again."""
    (tmp_path / "mine.py").write_text("import no_such_module\n")
    async with await OurProcess.start(
        "worker", "--processes", "2", env=environment(redis_url), cwd=tmp_path
    ) as workers:
        assert await workers.ended() == 2
    assert "no_such_module" in workers.stderr
    assert "child.died" not in workers.stderr


async def test_all_listen_on_each_address_and_answer_a_challenge_once(redis_url: str, tmp_path: Path) -> None:
    """Both families reach one port of several processes, and a challenge that one has answered no other one answers."""
    public_url = "https://hooks.example.com"
    env = environment(redis_url, KONVOX_HOST="127.0.0.1,::1", KONVOX_PUBLIC_URL=public_url)
    arguments = ("receiver", "--processes", "3")
    async with await OurProcess.start(*arguments, env=env, cwd=tmp_path) as supervisor:
        urls = await listeners(supervisor, "receiver", 6)
        assert {url.rpartition(":")[0] for url in urls} == {"http://127.0.0.1", "http://[::1]"}
        challenge = make_challenge("token", TOKEN, public_url)
        foreign = make_challenge("token", TOKEN, "https://evil.example.com")
        statuses: dict[str, list[int]] = {}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            for name, asked in (("ours", challenge), ("foreign", foreign)):
                path, headers = urlsplit(asked.url).path, {CHALLENGE_HEADER: asked.header}
                statuses[name] = []
                for url in [*urls] * 8:  # each a connection of its own, which the kernel gives to any of them
                    async with session.post(url + path, headers=headers) as response:
                        statuses[name].append(response.status)
    assert sorted(statuses["ours"]) == [200] + [404] * 15
    assert set(statuses["foreign"]) == {404}
