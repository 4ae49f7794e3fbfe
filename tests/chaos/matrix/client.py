"""Konvox and an attacker, as the receiver sees them. What was answered is on disk before anything else happens."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from broker.records import Record
from konvox.samples import sample_body
from konvox.signatures import sign_hmac_sha256

TOKEN = "a-token-of-the-chaos-matrix-0123456789"
SECRET = "a-secret-of-the-chaos-matrix-0123456789"
SIGNATURE_HEADER = "X-Konvox-Signature"

PATIENCE_SECONDS = 10.0
"""How long Konvox waits for an answer."""

_AT_ONCE = 8
_REPEAT_SECONDS = 0.02
_GIVE_UP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Event:
    """An event to deliver.

    Attributes:
        id: its id.
        body: its body.
    """

    id: str
    body: bytes

    @classmethod
    def of(cls, name: str, **plan: Any) -> Self:
        """An event that no other name has, with what the handler is to do in its data."""
        body = sample_body("chaos.event", data={"name": name, **plan}, timestamp="2026-05-20T14:32:00.000Z")
        return cls(Record.capture(body, received_at_ms=0).id, body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    Attributes:
        id: the event's.
        status: of the answer; 0 if there was none.
        kept_as: `accepted` or `duplicate`, where the status is 200.
        retry_after: the header of that name.
        seconds: how long it took.
    """

    id: str
    status: int
    kept_as: str | None
    retry_after: str | None
    seconds: float


class Client:
    """Delivers events, and writes (id, send time, status) of each request to a journal.

    Attributes:
        answers: those of genuine requests, since they were last cleared.
        break_ins: the ids of attacks that were answered with 200.
    """

    def __init__(self, journal: Path) -> None:
        self.answers: list[Answer] = []
        self.break_ins: set[str] = set()
        self._journal = journal.open("ab", buffering=0)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=2 * PATIENCE_SECONDS), headers={"Content-Type": "application/json"}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        self._journal.close()

    async def deliver(self, events: Sequence[Event], origins: Callable[[], Sequence[str]]) -> None:
        """Deliver events, a few at a time, each until it is answered with 200, as Konvox does (and more patiently).

        Args:
            events: what to deliver.
            origins: where receivers are at this moment; the first is asked first, and the next after a failure.
        """
        places = asyncio.Semaphore(_AT_ONCE)

        async def until_acked(event: Event) -> None:
            async with places:
                deadline = time.monotonic() + _GIVE_UP_SECONDS
                attempt = 0
                while time.monotonic() < deadline:
                    known = origins()
                    if known and (await self.send(event, known[attempt % len(known)])).status == 200:
                        return
                    attempt += 1
                    await asyncio.sleep(_REPEAT_SECONDS)

        async with asyncio.TaskGroup() as group:
            for event in events:
                group.create_task(until_acked(event))

    async def send(self, event: Event, origin: str) -> Answer:
        """Send one genuine request."""
        signature = sign_hmac_sha256(event.body, secret=SECRET)
        answer = await self._post(event.id, f"{origin}/hooks/konvox/{TOKEN}", event.body, signature)
        self.answers.append(answer)
        return answer

    async def attack(self, chance: random.Random, origin: str) -> None:
        """Send what must not get in: a wrong token, a wrong signature, none, and bodies that are no events."""
        event = Event.of(f"attack-{chance.getrandbits(64):x}")
        other = Event.of(f"attack-{chance.getrandbits(64):x}")
        good = sign_hmac_sha256(event.body, secret=SECRET)
        torn = event.body[:-1]
        attempts = [
            (f"{TOKEN}x", event.body, good),
            (TOKEN, event.body, sign_hmac_sha256(event.body, secret="guessed")),
            (TOKEN, event.body, sign_hmac_sha256(other.body, secret=SECRET)),
            (TOKEN, event.body, None),
            (TOKEN, torn, sign_hmac_sha256(torn, secret=SECRET)),
        ]
        for token, body, signature in attempts:
            answer = await self._post(event.id, f"{origin}/hooks/konvox/{token}", body, signature)
            if answer.status == 200:
                self.break_ins.add(event.id)

    async def _post(self, event_id: str, url: str, body: bytes, signature: str | None) -> Answer:
        headers = {} if signature is None else {SIGNATURE_HEADER: signature}
        sent_at, started = time.time(), time.monotonic()
        status, kept_as, retry_after = 0, None, None
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                content = await answer.json()
                status, retry_after = answer.status, answer.headers.get("Retry-After")
                kept_as = content.get("status")
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # the receiver was killed: there is no answer, and status 0 says so
        seconds = time.monotonic() - started
        self._journal.write(f"{event_id} {sent_at:.6f} {status}\n".encode())
        os.fsync(self._journal.fileno())
        return Answer(event_id, status, kept_as, retry_after, seconds)
