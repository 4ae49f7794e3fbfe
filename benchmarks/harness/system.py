"""A system: one way to take webhooks and work through them, ours or a peer's. All are run, loaded and metered alike."""

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from operator import sub
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

import orjson
import psutil

from benchmarks.harness import product
from benchmarks.harness.figures import CORES_BUSY_ELSEWHERE, Sample
from benchmarks.harness.processes import Command, MeasuredProcess, free_port, python, running, until
from benchmarks.harness.store import Store, fresh_store
from benchmarks.harness.workload import read_marks

CONNECTIONS = 64
Role = Literal["receiver", "worker", "filler"]
Count = Callable[[product.Client], Awaitable[int]]
"""Asks the store how many events there are of some kind."""

_LONGEST_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The processes of a receiver and a worker, and how to count what became of the events.

    Attributes:
        commands: what starts them; a filler queues the bodies on its standard input, a line each.
        environment: what they are given, for a store's URL and the port to listen on.
        concurrency: how many events the worker has in flight.
        stored: how many events are stored once they are received, if any.
        left: how many events are not settled yet. It is asked all the time, so it must be cheap for the store.
        settled: how many events are settled well, if the system counts them.
        worker_ready: what the worker logs once it has started, if anything.
        peer: what must be installed for it (see `benchmarks.peers.install`).
    """

    commands: Mapping[Role, Command]
    environment: Callable[[str, int], Mapping[str, str]]
    concurrency: int = 100
    stored: Count | None = None
    left: Count | None = None
    settled: Count | None = None
    worker_ready: str = ""
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the load generator found: how many requests were answered, all with 200, in what time, the latencies."""

    answered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    generator_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """A load generator that has warmed up and waits for its start."""

    process: MeasuredProcess

    async def run(self) -> Outcome:
        """Let it send, and wait for the outcome."""
        self.start()
        return await self.outcome()

    def start(self) -> None:
        """Let it send."""
        self.process.handle.send_signal(signal.SIGUSR1)

    def send_no_more(self) -> None:
        """Make the open loop end with what it has sent."""
        self.process.handle.send_signal(signal.SIGUSR2)

    async def outcome(self) -> Outcome:
        """Wait for the outcome; NotMeasuredError if not every request was answered with 200."""
        async with asyncio.timeout(_LONGEST_SECONDS):
            await self.process.ended()
        return Outcome(**orjson.loads(self.process.log().splitlines()[-1]))


@dataclass(slots=True)
class Usage:
    """What passed between the beginning and the end of `Service.metered`, in seconds: of the clock, and of CPU time."""

    clock: float = 0
    processes: float = 0
    store: float = 0
    machine: float = 0

    def sample(self, count: int, value: float, outcome: Outcome | None = None, **more: float) -> Sample:
        """A sample of so many requests or events, with the latencies of the load if there was one."""
        generator = 0.0 if outcome is None else outcome.generator_cpu_seconds
        elsewhere = max(0.0, self.machine - self.processes - self.store - generator) / self.clock
        figures = {"store_cpu_seconds_per_1000": self.store * 1000 / count, CORES_BUSY_ELSEWHERE: elsewhere}
        load = {} if outcome is None else asdict(outcome)
        return Sample(count, value, self.processes * 1000 / count, {**load, **figures, **more})


@dataclass(frozen=True, slots=True)
class Service:
    """A system that runs around a store. Metrics, the data folder and the ledger are ours alone."""

    processes: Mapping[Role, MeasuredProcess]
    store: Store
    port: int
    data: Path
    admin_ports: Mapping[Role, int]

    def check(self) -> bool:
        """True while all processes run; NotMeasuredError if one has ended."""
        return all(process.check() for process in self.processes.values())

    @asynccontextmanager
    async def load(self, *, connections: int = CONNECTIONS, **more: object) -> AsyncIterator[Load]:
        """A load on the receiver, warmed up; the options are those of `benchmarks.harness.generator`."""
        options = orjson.dumps({"port": self.port, "connections": connections, **more}).decode()
        async with running(python("benchmarks.harness.generator", options), {}, self.data) as process:
            await process.has_logged("ready")
            yield Load(process)

    @asynccontextmanager
    async def metered(self, *roles: Role) -> AsyncIterator[Usage]:
        """Meter the store and these processes, all by default; the usage is complete at the end."""
        members = [self.processes[role] for role in roles or self.processes]
        before, usage = await self._used(members), Usage()
        yield usage
        after = await self._used(members)
        usage.clock, usage.processes, usage.store, usage.machine = map(sub, after, before)

    async def _used(self, processes: Iterable[MeasuredProcess]) -> tuple[float, float, float, float]:
        """What has been used so far."""
        times = psutil.cpu_times()
        machine = float(sum(times)) - float(times.idle) - float(getattr(times, "iowait", 0.0))
        cpu = sum(process.cpu_seconds() for process in processes)
        return time.perf_counter(), cpu, await self.store.cpu_seconds(), machine

    async def metrics(self, role: Role) -> dict[str, float]:
        """The metrics of a process, by name."""
        url = f"http://127.0.0.1:{self.admin_ports[role]}/metrics"
        with await asyncio.to_thread(urlopen, url) as answer:
            return read_metrics(answer.read().decode())

    async def has_marked(self, marks: Path, events: int, *, times: int = 1) -> None:
        """Wait until the handlers of so many events have started so many times."""

        def marked() -> bool:
            return self.check() and sum(len(runs) >= times for runs in read_marks(marks).values()) >= events

        await until(marked, seconds=_LONGEST_SECONDS)

    async def all_delivered(self, events: int) -> None:
        """Wait until the ledger counts so many events as delivered; NotMeasuredError if it does not in this time."""

        async def delivered() -> bool:
            return self.check() and await product.delivered(self.store.client) >= events

        await until(delivered, seconds=_LONGEST_SECONDS)


@asynccontextmanager
async def service(
    system: System, folder: Path, *roles: Role, store: Store | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Service]:
    """Run these processes of a system (both by default) around a fresh store, with further environment variables.

    Yields once the receiver listens and the worker beside it has started. A worker alone is watched from its first
    moment: it is not waited for.
    """
    roles, port = roles or ("receiver", "worker"), free_port()
    admin_ports = {role: free_port() for role in roles}
    async with AsyncExitStack() as stack:
        if store is None:
            store = await stack.enter_async_context(fresh_store(folder))
        data = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="data-"))
        environment = {**system.environment(store.url, port), "KONVOX_DATA_DIR": data, **(settings or {})}
        processes: dict[Role, MeasuredProcess] = {}
        for role in roles:
            own = {**environment, "KONVOX_ADMIN_PORT": str(admin_ports[role])}
            processes[role] = await stack.enter_async_context(running(system.commands[role], own, folder))
        if "receiver" in processes:
            await processes["receiver"].listening(port)
            if "worker" in processes:
                await processes["worker"].has_logged(system.worker_ready)
        yield Service(processes, store, port, Path(data), admin_ports)


async def fill(system: System, store: Store, bodies: Iterable[bytes], folder: Path) -> None:
    """Queue these bodies: a peer's filler does, ours are admitted as the receiver does."""
    if "filler" not in system.commands:
        await product.admit_bodies(store.client, bodies)
        return
    command, environment = system.commands["filler"], system.environment(store.url, 0)
    async with running(command, environment, folder, b"\n".join(bodies)) as filler:
        await filler.ended()


def length(*commands: tuple[str, str]) -> Count:
    """Counts the sum of what these commands answer for a key, such as `("ZCARD", "queue")`."""

    async def count(client: product.Client) -> int:
        return sum([int(await product.ask(client, command, key)) for command, key in commands])

    return count


def read_metrics(text: str) -> dict[str, float]:
    """The metrics of an admin listener, by name, without their types."""
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}
