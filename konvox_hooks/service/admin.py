"""The admin listener of each role: health, readiness, metrics, and a page with the ledger. Loopback by default.

Started by receiver and worker. It shows counts only, nothing of an event, and asks for no password. If you bind it to
another address than loopback, put it behind something that asks for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.ledger import Ledger, read_ledger
from broker.redis.client import OUTAGES
from broker.redis.commands import Server
from konvox.urls import is_own_host
from receiver.sockets import bound_port, listen


class AdminListener:
    """Serves an application on a port of its own."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None)
        self._servers: list[asyncio.Server] = []

    async def start(self, host: str | Sequence[str], port: int) -> int:
        """Listen on one address or several; returns the port. Raises OSError if one cannot be listened on."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - it was just set up
        self._servers = await listen(server, [host] if isinstance(host, str) else host, port)
        return bound_port(self._servers)

    async def stop(self) -> None:
        """Stop listening, and close the open connections."""
        for listening in self._servers:
            listening.close()
        await self._runner.cleanup()


_LEDGER_TOTALS = frozenset({"accepted", "duplicates", "delivered", "dropped"})
"""The counts of the ledger that only grow. Others can fall: a dead letter that is retried is pending again."""

Readings = Callable[[], Mapping[str, float]]
"""Returns the process's own counts, by metric name without `konvox_`. A name that ends in `_total` is a counter."""

Ready = Callable[[], Awaitable[bool]]
"""Returns whether the role does its work at the moment."""


def admin_listener(
    role: str, server: Server, *, ready: Ready, readings: Readings, names: Sequence[str] = ()
) -> AdminListener:
    """Make the admin listener of a role.

    Args:
        role: `receiver` or `worker`.
        server: Redis, for readiness and the ledger.
        ready: whether the role does its work.
        readings: the role's own counts, for `/metrics`.
        names: the hosts that a request may name besides the listener's own address and `localhost`.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _json(200, {"status": "ok", "role": role})

    async def readyz(_: web.Request) -> web.Response:
        try:
            await server.ping()
        except OUTAGES as error:
            return _json(503, {"status": "not ready", "reason": f"Redis: {type(error).__name__}"})
        if not await ready():
            return _json(503, {"status": "not ready", "reason": "stopping or reconnecting"})
        return _json(200, {"status": "ready", "role": role})

    async def metrics(_: web.Request) -> web.Response:
        ledger = await _ledger_counts(server)
        counts: dict[str, float] = {"konvox_redis_up": int(ledger is not None)}
        counts |= {_ledger_metric(name): value for name, value in (ledger or {}).items()}
        counts |= {f"konvox_{name}": value for name, value in readings().items()}
        lines = [f"# TYPE {name} {_kind(name)}\n{name} {value}\n" for name, value in counts.items()]
        return web.Response(text="".join(lines), content_type="text/plain")

    async def page(_: web.Request) -> web.Response:
        ledger = await _ledger_counts(server)
        shown: Mapping[str, object] = {"Redis": "cannot be reached"} if ledger is None else ledger
        rows = "".join(f"<tr><th>{name}<td>{value}" for name, value in shown.items())
        return web.Response(text=_PAGE.format(role=role, rows=rows), content_type="text/html")

    app = web.Application(middlewares=[_own_host_only(names)])
    for path, answer in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics), ("/", page)):
        app.router.add_get(path, answer)
    return AdminListener(app)


def _own_host_only(names: Sequence[str]) -> Middleware:
    """Refuse a request for another host: a page in a browser, whose name was made to lead here (DNS rebinding)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let requests for this listener through."""
        socket_name = request.get_extra_info("sockname")
        if is_own_host(request.headers.get("Host"), [socket_name[0] if socket_name else "", *names]):
            return await handler(request)
        return _json(421, {"error": "not asked for by a name of this listener: KONVOX_ADMIN_NAMES takes further ones"})

    return check


async def _ledger_counts(server: Server) -> Mapping[str, int] | None:
    """The counts of the ledger, or None while Redis is away; page and metrics must answer then too."""
    try:
        ledger: Ledger = await read_ledger(server)
    except OUTAGES:
        return None
    return {name: value for name, value in asdict(ledger).items() if isinstance(value, int)}


def _ledger_metric(count: str) -> str:
    return f"konvox_ledger_{count}" + ("_total" if count in _LEDGER_TOTALS else "")


def _kind(metric: str) -> str:
    """The type of a metric in Prometheus' text format."""
    return "counter" if metric.endswith("_total") else "gauge"


def _json(status: int, content: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")


_PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>konvox-hooks {role}</title>
<style>body{{font:16px system-ui;margin:3rem}}th{{text-align:left;padding-right:2rem;font-weight:400}}
td{{text-align:right;font-variant-numeric:tabular-nums}}</style>
<h1>konvox-hooks {role}</h1><table>{rows}</table>
<p>accepted = delivered + dead + pending. <code>konvox-hooks audit</code> proves it.</p>
"""
