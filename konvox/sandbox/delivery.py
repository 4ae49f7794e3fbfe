"""Delivery as Konvox documents it: POST, 200 within 10 seconds, up to three retries with growing waits, then gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
import structlog
from aiohttp import web

from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.records import RegisteredWebhook
from konvox.sandbox.state import STATE, Attempt, SandboxState, new_id, now
from konvox.urls import masked_url

_log = structlog.get_logger()


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint.

    Attributes:
        message_id: the event's, the same on each of its ways; some signature schemes send it along.
        after_seconds: how long to wait before the first attempt.
        outcome: where it stands; `stopped` means that the sandbox was shut down before it ended.
        attempts: what was tried so far.
        ended: set once nothing more will be tried.
    """

    webhook: RegisteredWebhook
    event_type: str
    body: bytes = field(repr=False)
    message_id: str
    after_seconds: float = 0.0
    outcome: Literal["pending", "delivered", "gave up", "stopped"] = "pending"
    attempts: list[Attempt] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Deliverer:
    """Makes the requests, and keeps hold of those under way."""

    def __init__(self, config: SandboxConfig, state: SandboxState, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._state = state
        self._session = session
        self._tasks: set[asyncio.Task[None]] = set()
        # A place is taken before the clock starts: a burst must not use up the time that the receiver has to answer.
        self._places = asyncio.Semaphore(config.concurrent_deliveries)

    def fire(self, event_type: str, body: bytes, *, copies_after_seconds: Sequence[float] = (0.0,)) -> list[Delivery]:
        """Start to deliver an event to every active endpoint that asked for it.

        Args:
            event_type: the event's name.
            body: the same for each copy.
            copies_after_seconds: one number for each copy, how long to wait before it.
        """
        subscribers, message_id = self._state.subscribers(event_type), f"msg_{new_id()}"
        return [
            self._start(Delivery(webhook, event_type, body, message_id, after_seconds))
            for after_seconds in copies_after_seconds
            for webhook in subscribers
        ]

    async def stop(self) -> None:
        """End what is under way, at once."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, delivery: Delivery) -> Delivery:
        def end(task: asyncio.Task[None]) -> None:
            # Not in the task's own `finally`: a task that is cancelled before its first step runs none of its code.
            if task.cancelled():
                delivery.outcome = "stopped"
            self._tasks.discard(task)
            delivery.ended.set()

        task = asyncio.create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(end)
        return delivery

    async def _deliver(self, delivery: Delivery) -> None:
        if delivery.after_seconds > 0:
            await asyncio.sleep(delivery.after_seconds)
        for number in range(1, self._config.retries + 2):
            if number > 1:
                await asyncio.sleep(self._config.backoff_seconds(number - 1))
            async with self._places:
                attempt = await self._attempt(delivery, number)
            delivery.attempts.append(attempt)
            self._state.attempts.append(attempt)
            if attempt.delivered:
                delivery.outcome = "delivered"
                return
        delivery.outcome = "gave up"
        _log.warning("sandbox.gave_up", webhook_id=delivery.webhook.id, event_type=delivery.event_type)

    async def _attempt(self, delivery: Delivery, number: int) -> Attempt:
        started_at, started = now(), time.monotonic()
        status, error = await self._post(delivery)
        duration_ms = round((time.monotonic() - started) * 1000, 1)
        webhook, event_type = delivery.webhook, delivery.event_type
        _log.info(
            "sandbox.delivery",
            webhook_id=webhook.id,
            url=masked_url(webhook.url),
            event_type=event_type,
            attempt=number,
            status=status,
            error=error,
            duration_ms=duration_ms,
        )
        return Attempt(webhook.id, event_type, number, status, error, started_at, duration_ms)

    async def _post(self, delivery: Delivery) -> tuple[int | None, str | None]:
        headers = {"Content-Type": "application/json", "User-Agent": "konvox-sandbox"}
        # Signed for each attempt: some schemes sign the moment with it.
        headers |= self._config.signature_headers(
            delivery.body, message_id=delivery.message_id, moment=int(time.time())
        )
        try:
            async with self._session.post(
                delivery.webhook.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as response:
                return response.status, None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, self._fault(error)

    def _fault(self, error: Exception) -> str:
        """What went wrong, in words that hold nothing of the URL: aiohttp's own may quote it."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._config.delivery_timeout_seconds:g} s"
        if isinstance(error, aiohttp.ClientConnectorError):
            return "cannot connect"
        return f"the request failed: {type(error).__name__}"


DELIVERER = web.AppKey("DELIVERER", Deliverer)


async def deliverer_context(app: web.Application, config: SandboxConfig) -> AsyncIterator[None]:
    """Give the app its deliverer, from its start to its end."""
    timeout = aiohttp.ClientTimeout(total=config.delivery_timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        app[DELIVERER] = deliverer = Deliverer(config, app[STATE], session)
        yield
        await deliverer.stop()


async def stop_deliveries(app: web.Application) -> None:
    """End what is under way before the connections are closed, so that nobody waits for it any longer."""
    await app[DELIVERER].stop()
