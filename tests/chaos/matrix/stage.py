"""Where a row is played: a Valkey of its own, receivers, workers, a client, and a look at where each event is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from broker.audit import audit
from broker.dead_letters import list_dead_letters
from broker.redis.client import OUTAGES, close
from receiver.spool import spooled_events
from tests.chaos.matrix.client import SECRET, TOKEN, Client, Event
from tests.chaos.matrix.counting import Places
from tests.chaos.matrix.crew import Crew, receiver_up, worker_up
from tests.support.processes import OurProcess
from tests.support.store import KEYS, RedisClient, connect
from tests.support.valkey import ValkeyServer
from tests.support.workers import until

LEASE_SECONDS = 1.0
CONCURRENCY = 4
WORKERS = 2
IN_FLIGHT = CONCURRENCY * WORKERS
"""How many events of all workers together are in flight at most."""

SETTLE_SECONDS = 45.0


class BrokenPromiseError(Exception):
    """Something that must happen did not, or the other way round."""


class Stage:
    """What a row has to play with. Made with `open_stage`.

    Attributes:
        folder: where everything writes to.
        valkey: the server under fault.
        server: a connection to it.
        client: Konvox, and an attacker.
        receivers: two of them.
        workers: two of them.
    """

    def __init__(self, folder: Path, valkey: ValkeyServer, server: RedisClient, client: Client) -> None:
        self.folder = folder
        self.valkey = valkey
        self.server = server
        self.client = client
        self.receivers: Crew
        self.workers: Crew
        self._name = ""
        self._events: list[Event] = []

    def begin(self, name: str) -> None:
        """Begin an iteration, the events of which carry this name."""
        self._name = name
        self._events = []
        self.client.answers.clear()
        self.client.break_ins.clear()
        for leftover in ("effects", "entered", "healed", "released"):
            (self.folder / leftover).unlink(missing_ok=True)

    @property
    def sent(self) -> list[str]:
        """The ids of the events of this iteration."""
        return [event.id for event in self._events]

    def events(self, count: int, **plan: Any) -> list[Event]:
        """New events, with what the handler is to do with them."""
        first = len(self._events)
        new = [Event.of(f"{self._name}-{first + number}", **plan) for number in range(count)]
        self._events += new
        return new

    def short_events(self, chance: random.Random, count: int) -> list[Event]:
        """New events, whose handlers take some ms before and after their effects."""
        return [
            event
            for _ in range(count)
            for event in self.events(1, before_seconds=chance.uniform(0, 0.02), after_seconds=chance.uniform(0, 0.02))
        ]

    async def deliver(self, events: Sequence[Event], *, first: OurProcess | None = None) -> None:
        """Have Konvox deliver events, to a certain receiver first."""
        await self.client.deliver(events, lambda: self.receivers.origins(first))

    async def attack(self, chance: random.Random) -> None:
        """Have somebody try to get in, at one of the receivers that are up."""
        if origins := self.receivers.origins():
            await self.client.attack(chance, chance.choice(origins))

    def lines(self, name: str) -> list[str]:
        """What the handlers have written down: `effects` or `entered`."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def runs(self) -> Counter[str]:
        """How often each event took effect."""
        return Counter(line.split()[0] for line in self.lines("effects"))

    def spooled(self) -> tuple[str, ...]:
        """The events that wait in spools."""
        return spooled_events(self.folder / "data" / "spool").ids

    async def in_hand(self) -> int:
        """How many events are in flight at this moment: leased to a worker, dead ones included."""
        return int(await self.server.hlen(KEYS.leases))

    async def settled(self) -> Places:
        """Wait until nothing is queued or spooled, and say where everything is.

        Raises:
            BrokenPromiseError: it takes too long, the ledger does not balance, or an attempt was used up.
        """
        await self.until(self._at_rest, "nothing is queued or spooled")
        ledger = await audit(self.server)
        if not ledger.balanced:
            raise BrokenPromiseError(f"the ledger does not balance: {ledger}")
        late = [line for line in self.lines("effects") if not line.endswith(" 1")]
        if late:
            raise BrokenPromiseError(f"attempts were used up: {late[:5]}")
        return Places(runs=self.runs(), dead=await self.dead(), spooled=self.spooled())

    async def dead(self) -> list[str]:
        """The events of all dead letters."""
        return [letter.event_id async for letter in list_dead_letters(self.server)]

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for something of which nobody tells.

        Raises:
            BrokenPromiseError: it takes too long.
        """
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await until(condition)
        except TimeoutError:
            raise BrokenPromiseError(f"it never came to this: {what}") from None

    async def _at_rest(self) -> bool:
        try:
            # Events move from the spool to the queue and never back: looked at in this order, none is overlooked.
            return not self.spooled() and not await self.server.zcard(KEYS.queue)
        except OUTAGES:
            return False


@asynccontextmanager
async def open_stage(
    folder: Path, *, workers: int = WORKERS, redis: Mapping[str, str] | None = None, **settings: str
) -> AsyncIterator[Stage]:
    """Start everything.

    Args:
        folder: where everything writes to.
        workers: how many of them.
        redis: settings of Redis, where others than usual are needed.
        settings: further settings of receivers and workers.
    """
    (folder / "redis").mkdir(parents=True)
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer(folder / "redis", **(redis or {})))
        server = connect(valkey.url())
        stack.push_async_callback(close, server)
        client = await stack.enter_async_context(Client(folder / "journal"))
        stage = Stage(folder, valkey, server, client)
        env = {
            "KONVOX_REDIS_URL": valkey.url(),
            "KONVOX_HOOK_TOKENS": TOKEN,
            "KONVOX_SIGNATURE": "hmac-sha256",
            "KONVOX_SIGNING_SECRETS": SECRET,
            "KONVOX_HANDLERS": str(Path(__file__).with_name("handler.py")),
            "KONVOX_DATA_DIR": str(folder / "data"),
            "KONVOX_PORT": "0",
            "KONVOX_ADMIN_PORT": "0",
            "KONVOX_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "KONVOX_CONCURRENCY": str(CONCURRENCY),
            "KONVOX_STOP_SECONDS": "0.2",
            "CHAOS_FOLDER": str(folder),
            **settings,
        }
        receivers = Crew("receiver", receiver_up, size=2, env=env, folder=folder)
        stage.receivers = await stack.enter_async_context(receivers)
        stage.workers = await stack.enter_async_context(Crew("worker", worker_up, size=workers, env=env, folder=folder))
        await stage.receivers.complete()
        await stage.workers.complete()
        yield stage
